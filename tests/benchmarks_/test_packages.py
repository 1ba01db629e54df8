import io
import tarfile
import zipfile

import pytest

from benchmarks import packages
from benchmarks.packages import PackageError, Source, locate, outcomes, replaced, unpack


def tar_of(folder, *members):
    path = folder / "some.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def written(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    return root


def test_files_of_tar_and_zip_are_unpacked(tmp_path):
    unpack(tar_of(tmp_path, ("a-1/a.py", "x = 1")), tmp_path / "tar")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a-1/a.py", "x = 2")
    unpack(tmp_path / "some.zip", tmp_path / "zip")
    assert (tmp_path / "tar/a-1/a.py").read_text() == "x = 1"
    assert (tmp_path / "zip/a-1/a.py").read_text() == "x = 2"


@pytest.mark.parametrize("name", ["../out.py", "a/../../out.py", "/out/out.py", "a\\..\\out.py"])
def test_an_archive_with_a_path_that_leads_outside_is_refused_whole(tmp_path, name):
    with pytest.raises(PackageError, match="leads outside"):
        unpack(tar_of(tmp_path, ("a/good.py", ""), (name, "x")), tmp_path / "target")
    assert not list((tmp_path / "target").rglob("*.py"))


def test_a_link_is_not_written_and_nothing_is_written_through_it(tmp_path):
    link = tarfile.TarInfo("a/link")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    unpack(tar_of(tmp_path, (link, ""), ("a/link/in.py", "x")), tmp_path / "target")
    assert (tmp_path / "target/a/link").is_dir()
    assert not (tmp_path / "target/a/link").is_symlink()
    assert not (tmp_path / "in.py").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(PackageError, match="holds more than"):
        unpack(tar_of(tmp_path, ("a.py", "x" * 11)), tmp_path / "target")


def test_what_is_no_archive_is_said_to_be_none(tmp_path):
    (tmp_path / "some.tar.gz").write_text("no")
    with pytest.raises(PackageError, match="no archive"):
        unpack(tmp_path / "some.tar.gz", tmp_path / "target")


@pytest.mark.parametrize(
    ("files", "package", "tests"),
    [
        (["some_name/__init__.py", "tests/test_a.py"], "some_name", "tests"),
        (["src/some_name/__init__.py", "test/test_a.py", "setup.py"], "src/some_name", "test"),
        (["other/__init__.py", "other/tests/test_a.py", "docs/__init__.py"], "other", "other/tests"),
        (["some_name.py", "setup.py", "test_some_name.py"], "some_name.py", "."),
    ],
)
def test_package_and_tests_are_found_in_the_usual_layouts(tmp_path, files, package, tests):
    found = locate("Some-Name", written(tmp_path, *files))
    assert (found.inside(found.package), found.inside(found.tests)) == (package, tests)


def test_a_distribution_without_tests_is_told_how_to_name_them(tmp_path):
    with pytest.raises(PackageError, match="--tests-dir"):
        locate("a", written(tmp_path, "a/__init__.py"))


def test_nothing_of_the_originals_code_is_left_in_an_output_but_tests_and_data(tmp_path):
    root = written(tmp_path / "root", "src/a/__init__.py", "src/a/gone.py", "src/a/data.txt", "src/a/tests/test_a.py")
    source = Source("a", root, root / "src/a", root / "src/a/tests")
    files = {"src/a/__init__.py": "new", "src/a/tests/test_a.py": "weaker", "src/b.py": "stray", "../x.py": ""}
    output = replaced(source, files, tmp_path / "output")
    found = {output.inside(path): path.read_text() for path in output.root.rglob("*") if path.is_file()}
    kept = {f"src/a/{name}": f"# src/a/{name}\n" for name in ("data.txt", "tests/test_a.py")}
    assert found == {"src/a/__init__.py": "new", **kept}


def test_the_worst_outcome_of_one_test_counts():
    case = '<testcase classname="tests.a" name="t">{}</testcase>'
    junit = f"<s>{case.format('<failure/>')}{case.format('')}<testcase name='u'><skipped/></testcase></s>"
    assert outcomes(junit) == {"tests.a::t": "failed", "u": "skipped"}
