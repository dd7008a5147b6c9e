"""Where the interpreter's parts are found, and what Landlock is told of them."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from mlx_selfdebug.sandbox.confinement import bubblewrap, landlock
from mlx_selfdebug.sandbox.confinement.layout import Layout, this_interpreter


def test_the_layout_names_the_base_interpreters_standard_library_alone() -> None:
    layout = this_interpreter()
    assert os.path.realpath(os.__file__).startswith(tuple(path + "/" for path in layout.stdlib))
    assert all(os.path.realpath(path) == path for path in (*layout.stdlib, *layout.libraries, *layout.hidden))
    assert layout.packages == ()
    everything = (*layout.stdlib, *layout.libraries, *layout.files)
    assert not {"/", "/usr", "/usr/lib", "/etc", "/usr/local/lib", os.path.expanduser("~")} & set(everything)
    assert all(os.path.exists(path) for path in everything)


def test_what_is_installed_in_the_base_interpreter_is_hidden() -> None:
    layout = this_interpreter()
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    site = os.path.realpath(sysconfig.get_path("purelib", vars=base))
    if os.path.isdir(site) and site.startswith(layout.stdlib):
        assert site in layout.hidden


def test_packages_are_found_with_the_libraries_beside_them() -> None:
    packages = this_interpreter(("numpy",)).packages
    assert os.path.basename(packages[0]) == "numpy"
    assert all(os.path.isdir(path) for path in packages)


@pytest.mark.parametrize("name", ["not_installed", "os.path", "../etc", ""])
def test_a_package_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="not installed"):
        this_interpreter((name,))


def test_landlock_allows_the_entries_around_what_is_hidden(tmp_path: Path) -> None:
    for name in ("lib/json", "lib/site-packages/secret", "lib/python3/dist-packages/secret", "lib/python3/ok"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lib/link").symlink_to(tmp_path / "lib/site-packages/secret")
    hidden = (f"{tmp_path}/lib/site-packages", f"{tmp_path}/lib/python3/dist-packages")
    rules = {rule.path: rule.rights for rule in landlock.layout_rules(Layout("python", (f"{tmp_path}/lib",), hidden))}
    read, listing = 0b1100, 0b1000
    assert rules == {
        f"{tmp_path}/lib": listing,
        f"{tmp_path}/lib/json": read,
        f"{tmp_path}/lib/python3": listing,
        f"{tmp_path}/lib/python3/ok": read,
    }


def test_landlock_denies_all_that_each_version_knows() -> None:
    assert [landlock.file_rights(abi).bit_length() for abi in range(1, 8)] == [13, 14, 15, 15, 16, 16, 16]


def test_bubblewraps_command_shows_the_layout_and_nothing_else() -> None:
    layout = Layout(
        "/py/bin/python", ("/py/lib",), ("/py/lib/site-packages",), ("/lib64",), (), ("/py/lib/site-packages/numpy",)
    )
    command = bubblewrap.command(layout, ["/py/bin/python", "-c", "1"], environment={"A": "b"})
    text = " ".join(command)
    assert command[-5:] == ["/", "--", "/py/bin/python", "-c", "1"]
    assert "--unshare-all --die-with-parent --new-session --cap-drop ALL --clearenv --chdir / --setenv A b" in text
    shown = [command[i + 1] for i, word in enumerate(command) if word == "--ro-bind"]
    assert shown == ["/py/lib", "/lib64", "/py/bin/python", "/py/lib/site-packages/numpy"]
    # The package comes after the folder that hides all others.
    assert text.index("--tmpfs /py/lib/site-packages ") < text.index("--ro-bind /py/lib/site-packages/numpy")
    assert "--proc" not in command
