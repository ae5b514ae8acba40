"""Disease and ageing as fields: nothing folds, volumes add up, a phantom becomes the ill one."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from src.cohorts.phantom import anatomy
from src.preprocessing.space.template import template
from src.stressing.fields import (
    STRUCTURES,
    Warp,
    field_of,
    in_view,
    jacobian,
    on_scan,
    regions,
    volume_of,
)
from src.stressing.plan import most

pytestmark = pytest.mark.slow  # the template's fields take seconds to make

WHOLE = {name: most(name) for name in STRUCTURES}
#: Structure -> centre and widths of the phantom's radial field, and its sign.
RADIAL = {
    "ventricles": (anatomy.VENTRICLES, 1),
    "temporal horns": (anatomy.TEMPORAL_HORNS, 1),
    "hippocampi": (anatomy.HIPPOCAMPI, -1),
}
SIZES = [*((name, {name: most(name)}) for name in STRUCTURES), *((n, WHOLE) for n in STRUCTURES)]


def determinants(field):
    """Return the Jacobian determinant of ``x + d(x)`` by the rule of Sarrus, 2 mm voxels."""
    a, b, c = (list(np.gradient(one.astype(np.float64), 2.0)) for one in field)
    a[0], b[1], c[2] = a[0] + 1, b[1] + 1, c[2] + 1
    return (
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("names", [*((name,) for name in STRUCTURES), tuple(STRUCTURES)])
def test_no_change_folds_space(names, sign):
    field = field_of({name: sign * most(name) for name in names})
    found = jacobian(field)
    np.testing.assert_allclose(found, determinants(field), atol=1e-3)
    assert found.min() > 0
    assert abs(found - 1).max() > 0.2


def test_a_change_goes_one_way():
    with pytest.raises(ValueError, match="one sign"):
        field_of({"ventricles": 0.1, "hippocampi": -0.1})


def drawn_volume(mask, field):
    """Return mL of the places that a change fills from a region, by points drawn at random."""
    rng = np.random.default_rng(0)
    reach = int(np.abs(field).max() / 2) + 3
    filled = np.argwhere(mask)
    low = np.maximum(filled.min(0) - reach, 0)
    high = np.minimum(filled.max(0) + reach, np.array(mask.shape) - 1)
    points = rng.uniform(low, high, (1_000_000, 3))
    index = [np.arange(edge) for edge in mask.shape]
    moved = RegularGridInterpolator(index, np.moveaxis(field, 0, -1))(points) / 2
    at = np.clip(np.rint(points + moved).astype(int), 0, np.array(mask.shape) - 1)
    return mask[tuple(at.T)].mean() * np.prod(high - low) * 0.008


@pytest.mark.parametrize(("name", "amplitudes"), SIZES)
def test_volumes_are_those_of_places_counted_one_by_one(name, amplitudes):
    mask, field = regions()[STRUCTURES[name]], field_of(amplitudes)
    assert volume_of(mask) == pytest.approx(mask.sum() * 0.008)
    assert volume_of(mask, field) == pytest.approx(drawn_volume(mask, field), rel=0.02)


@pytest.mark.parametrize("name", RADIAL)
def test_volumes_are_those_of_the_formula_and_of_the_way_back(name):
    mask = regions()[STRUCTURES[name]]
    found = volume_of(mask, field_of({name: most(name)}))
    # x goes to y = x + d(x), so the room of a region is the integral of det dx/dy over it.
    back = determinants(field_of({name: -most(name)}))
    assert back[mask].sum() * 0.008 == pytest.approx(found, rel=0.025)
    (centre, widths), sign = RADIAL[name]
    edges = (np.arange(-70, 70) + 0.5, np.arange(-80, 60) + 0.5, np.arange(-60, 80) + 0.5)
    points = np.stack(np.meshgrid(*edges, indexing="ij")).reshape(3, -1)  # 1 mm apart
    moved = points + sign * most(name) * anatomy.radial(points, centre, widths)
    index = np.linalg.inv(template().affine)
    at = np.rint(index[:3, :3] @ moved + index[:3, 3:]).astype(int)
    assert mask[tuple(at)].sum() / 1000 == pytest.approx(found, rel=0.025)


def test_fluid_grows_and_tissue_shrinks_with_every_dose():
    for name, region in STRUCTURES.items():
        mask = regions()[region]
        sizes = [volume_of(mask, field_of({name: dose * most(name)})) for dose in (0.2, 1)]
        way = -1 if name in ("hippocampi", "cortex") else 1
        assert (way * np.diff([volume_of(mask), *sizes]) > 0).all(), name


@pytest.fixture(scope="module")
def phantom():
    """Phantoms without anatomy of their own, RAS+, by disease; and index -> MNI mm."""
    voxel = 2.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anatomy, "_NODE_SD", 0.0)
        made = {
            disease: np.ascontiguousarray(
                anatomy.deform(voxel, disease, 0.0, np.random.default_rng(0)).intensity[::-1]
            )
            for disease in (0.0, 0.6)
        }
    shape, affine = anatomy.grid_affine(voxel)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = shape[0] - 1
    return made, affine @ flip


def test_a_healthy_phantom_becomes_the_ill_one_and_is_taken_back(phantom):
    made, to_mni = phantom
    healthy, ill = made[0.0], made[0.6]
    amplitudes = dict.fromkeys(RADIAL, 0.6)
    changed = Warp(field_of(amplitudes), to_mni, healthy.shape).apply(healthy)
    moved = np.abs(ill - healthy) > 0.05
    off, before = (np.abs(one - ill)[moved].mean() for one in (changed, healthy))
    assert moved.sum() > 3000
    assert before > 0.15
    assert off < 0.2 * before
    assert np.abs(changed - ill)[ill > 0].mean() < 0.01
    back = field_of({name: -amplitude for name, amplitude in amplitudes.items()})
    again = Warp(back, to_mni, healthy.shape).apply(ill)
    left = np.abs(again - healthy)[moved].mean()
    assert left < 0.25 * before
    np.testing.assert_array_equal(changed[:4], healthy[:4])  # far away, not a bit


def test_what_takes_a_change_back_leads_to_the_same_places():
    field, back = field_of(WHOLE), field_of({name: -one for name, one in WHOLE.items()})
    index = np.indices(field.shape[1:]) + back / 2
    there = np.stack(
        [ndimage.map_coordinates(one, index, order=1, mode="nearest") for one in field]
    )
    assert np.abs(there).max() > 10  # mm
    assert np.abs(back + there).max() < 0.02


@pytest.mark.parametrize("sides", [(1, 1, 1), (-1, 1, -1)])
def test_a_scan_of_any_grid_is_sampled_at_the_same_places(sides):
    edges, shape = np.array([1.5, 2.5, 3.0]) * sides, (104, 76, 45)
    to_mni = np.eye(4)
    to_mni[:3, :3] = np.diag(edges)
    to_mni[:3, 3] = np.array([0.3, -17.0, 5.0]) - edges * (np.array(shape) - 1) / 2
    points = (to_mni[:3, :3] @ np.indices(shape).reshape(3, -1) + to_mni[:3, 3:]).astype(float)
    (centre, widths), _ = RADIAL["ventricles"]
    moved = points + 0.7 * anatomy.radial(points, centre, widths)
    warp = Warp(field_of({"ventricles": 0.7}), to_mni, shape)
    inner = np.all(np.abs(points - [[0], [-17], [5]]) < [[60], [70], [50]], axis=0)
    assert np.abs(moved - points).max() > 8
    for axis in range(3):  # each voxel holds its own MNI place, which lines interpolate exactly
        data = (points[axis] + 500).reshape(shape).astype(np.float32)
        found = warp.apply(data).ravel() - 500
        assert np.abs(found - moved[axis])[inner].max() < 0.15
    with pytest.raises(ValueError, match="a change of"):
        warp.apply(data[1:])


def test_air_stays_air_and_nothing_is_done_where_nothing_moves():
    to_mni = template().affine
    warp = Warp(field_of(WHOLE), to_mni, template().t1.shape)
    brain = np.asarray(template().t1)
    changed = warp.apply(brain)
    # The brain is as large as before, to what its outermost fluid gives.
    assert (changed > 0).sum() == pytest.approx((brain > 0).sum(), rel=0.03)
    assert (changed[~ndimage.binary_dilation(brain > 0, iterations=2)] == 0).all()
    beside = to_mni.copy()
    beside[0, 3] += 500
    away = Warp(field_of(WHOLE), beside, brain.shape)
    assert away.empty
    np.testing.assert_array_equal(away.apply(brain), brain)


def test_what_of_a_structure_a_scan_shows():
    slab, shape = np.diag([1.0, 2, 3, 1]), (180, 100, 16)
    slab[:3, 3] = (-90, -120, 12)  # from 12 to 57 mm above the middle
    assert in_view(regions()["hippocampi"], slab, shape) == 0
    assert 0.5 < in_view(regions()["lateral ventricles"], slab, shape) < 1
    whole = np.diag([1.0, 2, 3, 1])
    whole[:3, 3] = (-90, -120, -74)
    right = whole.copy()
    right[0, 3] = 0.6  # nothing of the left
    for mask in regions().values():
        assert in_view(mask, whole, (180, 110, 55)) == 1
        if mask[:49].sum() == mask[50:].sum():  # the same on both sides
            share = (mask[50:].sum()) / mask.sum()
            assert in_view(mask, right, (180, 110, 55)) == pytest.approx(share)
    assert in_view(np.zeros_like(regions()["hippocampi"]), whole, (180, 110, 55)) == 0


def test_values_of_the_template_lie_where_a_scan_has_them():
    to_mni = np.diag([-1.5, 2.5, 3, 1.0])
    to_mni[:3, 3] = (60, -80, -40)
    points = template().affine[:3, :3] @ np.indices(template().t1.shape).reshape(3, -1)
    values = (points[1] + template().affine[1, 3]).reshape(template().t1.shape)  # Y in mm
    found = on_scan(values, to_mni, (20, 30, 10))
    expected = np.broadcast_to((-80 + 2.5 * np.arange(30))[None, :, None], found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-3)
