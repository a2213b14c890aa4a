"""A small dataset that is exported: lists, media and cached arrays."""

import pytest

from tests.helpers.cache.export_project import import_into, make_media, write_features, write_lists


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    return make_media(tmp_path_factory.mktemp("media") / "clips")


@pytest.fixture
def project(tmp_path, media):
    project = write_lists(tmp_path / "checkout")
    import_into(project, media)
    return project


@pytest.fixture
def arrays(project):
    return write_features(project)
