"""The pages as a site: `pages` lays them out, `build` calls Sphinx (``make docs``)."""
