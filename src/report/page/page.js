"use strict";
(() => {
  const $ = (id) => document.getElementById(id);

  // Paper shows what is folded on the screen, and closes it again.
  const folded = () => document.querySelectorAll("details");
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...folded()].filter((one) => !one.open);
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });

  // Tables that sort: a button in every head; numbers sort as numbers.
  const order = new Intl.Collator("en", { numeric: true });
  const key = (row, column) => row.cells[column].textContent.trim();
  const sort = (table, column) => {
    const heads = table.tHead.rows[0].cells;
    const down = heads[column].getAttribute("aria-sort") === "ascending";
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
    const numbers = rows.every(([text]) => text === "" || !Number.isNaN(Number(text)));
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // empty cells stay last
      return sign * (numbers ? Number(a) - Number(b) : order.compare(a, b));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, column));
    });
  }

  // The filter of people.
  const people = $("people-table");
  if (people) {
    const rows = [...people.tBodies[0].rows];
    const filter = () => {
      const text = $("f-text").value.toLowerCase();
      const wanted = $("f-class").value;
      const wrong = $("f-wrong").checked;
      let count = 0;
      for (const row of rows) {
        const [name, truth, , right] = row.cells;
        const shown = name.textContent.toLowerCase().includes(text) &&
          (!wanted || truth.textContent === wanted) && (!wrong || right.textContent === "no");
        row.hidden = !shown;
        count += shown;
      }
      $("f-count").textContent = `${count} of ${rows.length} people`;
    };
    for (const id of ["f-text", "f-class", "f-wrong"]) $(id).addEventListener("input", filter);
    document.querySelector(".filter").hidden = false;
    filter();
  }

  // The viewer: three planes of a volume that stands slice beside slice in a picture.
  const source = $("volumes");
  if (!source) return;
  const { colours, volumes, radiological } = JSON.parse(source.textContent);
  const SCALE = 340; // pixels of the longest side of a plane
  const PLANES = { axial: [0, 1, 2], coronal: [0, 2, 1], sagittal: [1, 2, 0] }; // across, up, through
  const NAMES = ["x", "y", "z"];
  let volume = null;
  let image = null;
  let map = null;
  let point = [0, 0, 0];
  const side = $("v-radiological");
  side.checked = radiological;
  // Radiological: the person's left is on the right, in the planes that have both.
  const turned = (across) => across === 0 && side.checked;

  const decode = async (sheet, shape) => {
    const picture = new Image();
    picture.src = sheet.data;
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const [nx, ny] = shape;
    return ([x, y, z]) => {
      const row = Math.floor(z / sheet.columns) * ny + y;
      return pixels[4 * (row * canvas.width + (z % sheet.columns) * nx + x)];
    };
  };
  const draw = (name) => {
    const [across, up, through] = PLANES[name];
    const shape = volume.shape;
    const [wide, high] = [shape[across], shape[up]];
    const small = document.createElement("canvas");
    [small.width, small.height] = [wide, high];
    const context = small.getContext("2d");
    const cut = context.createImageData(wide, high);
    const strength = Number($("v-map").value) / 100;
    const at = [0, 0, 0];
    at[through] = point[through];
    for (let j = 0; j < high; j += 1) {
      at[up] = high - 1 - j;
      for (let i = 0; i < wide; i += 1) {
        at[across] = turned(across) ? wide - 1 - i : i;
        const grey = image(at);
        const [r, g, b, a] = map ? colours[map(at)] : [0, 0, 0, 0];
        const over = strength * a / 255;
        const place = 4 * (j * wide + i);
        cut.data[place] = grey * (1 - over) + r * over;
        cut.data[place + 1] = grey * (1 - over) + g * over;
        cut.data[place + 2] = grey * (1 - over) + b * over;
        cut.data[place + 3] = 255;
      }
    }
    context.putImageData(cut, 0, 0);
    const canvas = $(`v-${name}`);
    const scale = SCALE / Math.max(...shape);
    [canvas.width, canvas.height] = [Math.round(wide * scale), Math.round(high * scale)];
    const shown = canvas.getContext("2d");
    shown.imageSmoothingQuality = "high";
    shown.drawImage(small, 0, 0, canvas.width, canvas.height);
    shown.strokeStyle = "#39d0d8";
    shown.beginPath();
    const column = turned(across) ? wide - 1 - point[across] : point[across];
    const x = Math.round((column + 0.5) * scale) + 0.5;
    const y = Math.round((high - point[up] - 0.5) * scale) + 0.5;
    shown.moveTo(x, 0);
    shown.lineTo(x, canvas.height);
    shown.moveTo(0, y);
    shown.lineTo(canvas.width, y);
    shown.stroke();
    if (across === 0 && volume.sideKnown) {
      shown.fillStyle = "#ffd166";
      shown.font = "14px sans-serif";
      const letters = turned(across) ? ["R", "L"] : ["L", "R"];
      shown.fillText(letters[0], 4, 16);
      shown.fillText(letters[1], canvas.width - 14, 16);
    }
  };
  const show = () => {
    for (const name of Object.keys(PLANES)) draw(name);
    NAMES.forEach((name, axis) => { $(`v-${name}`).value = point[axis]; });
    const mm = volume.affine.map((row) =>
      row[3] + point.reduce((sum, value, axis) => sum + row[axis] * value, 0));
    const share = map ? `; map ${(map(point) / 255).toFixed(2)} of its maximum` : "";
    $("v-out").textContent = `x ${mm[0].toFixed(0)}, y ${mm[1].toFixed(0)}, z ${mm[2].toFixed(0)} mm${share}`;
  };
  const move = (axis, value) => {
    point[axis] = Math.min(Math.max(value, 0), volume.shape[axis] - 1);
  };
  const open = async (index) => {
    const wanted = volumes[index];
    const decoded = await decode(wanted.image, wanted.shape);
    map = wanted.map ? await decode(wanted.map, wanted.shape) : null;
    [volume, image, point] = [wanted, decoded, [...wanted.start]];
    NAMES.forEach((name, axis) => { $(`v-${name}`).max = volume.shape[axis] - 1; });
    $("v-text").textContent = volume.text;
    $("v-side").textContent = volume.sideKnown ? "L and R are the person's left and right."
      : "Side unknown: which half is the left one cannot be told.";
    show();
  };
  volumes.forEach((one, index) => $("v-who").add(new Option(one.title, index)));
  $("v-who").addEventListener("change", () => open(Number($("v-who").value)));
  $("v-map").addEventListener("input", show);
  side.addEventListener("input", show);
  NAMES.forEach((name, axis) => $(`v-${name}`).addEventListener("input", () => {
    move(axis, Number($(`v-${name}`).value));
    show();
  }));
  for (const [name, [across, up]] of Object.entries(PLANES)) {
    const canvas = $(`v-${name}`);
    const take = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      move(across, Math.floor((turned(across) ? 1 - share : share) * volume.shape[across]));
      move(up, volume.shape[up] - 1 -
        Math.floor((event.clientY - box.top) / box.height * volume.shape[up]));
      show();
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      take(event);
    });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) take(event); });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowUp: [up, 1], ArrowDown: [up, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      move(step[0], point[step[0]] + (turned(step[0]) ? -step[1] : step[1]));
      show();
    });
  }
  for (const one of document.querySelectorAll(".no-script")) one.hidden = true;
  $("viewer-app").hidden = false;
  open(0);
})();
