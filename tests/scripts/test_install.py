"""The installer tells a CPU build from a GPU build by what pip says that it would fetch."""

from __future__ import annotations

from pathlib import Path

import pytest

import install


def report(name: str = "torch", needs: tuple[str, ...] = (), url: str = "file:///nowhere.whl") -> dict[str, object]:
    """What pip reports for one package."""
    item = {"metadata": {"name": name, "requires_dist": list(needs)}, "download_info": {"url": url}}
    return {"install": [item]}


@pytest.mark.parametrize("name", ["nvidia-cublas-cu13", "nvidia_nccl_cu13", "cuda-bindings", "triton"])
def test_a_package_for_gpus_is_named(name: str) -> None:
    assert install.gpu_part(report(name)) == f"it would bring {name.replace('_', '-')}"


def test_a_need_for_gpus_is_named() -> None:
    need = "nvidia-cudnn-cu13==9.1; platform_system == 'Linux'"
    assert "torch needs nvidia-cudnn-cu13==9.1" in install.gpu_part(report(needs=(need,)))


@pytest.mark.parametrize("need", ["sympy>=1.13", "triton==3.6; platform_system == 'Windows'", "cuda-x; extra == 'gpu'"])
def test_what_is_not_needed_here_does_not_count(need: str) -> None:
    assert install.gpu_part(report(needs=(need,))) == ""


def test_a_very_large_file_is_no_cpu_build(tmp_path: Path) -> None:
    wheel = tmp_path / "torch large.whl"
    with wheel.open("wb") as file:
        file.truncate(install.LARGEST_CPU_WHEEL + 1_000_000)
    assert install.gpu_part(report(url=wheel.as_uri())) == "torch alone is 501 MB"


def test_an_empty_report_is_fine() -> None:
    assert install.gpu_part({"install": []}) == ""


def test_pins_are_exact_versions() -> None:
    pins = install.read_pins(install.CONSTRAINTS)
    assert {"pip", "torch", "transformers", "pydantic", "pytest"} <= pins.keys()
    assert all(version[0].isdigit() for version in pins.values())


def test_the_pinned_pip_can_be_asked_without_fetching() -> None:
    pinned = tuple(int(part) for part in install.read_pins(install.CONSTRAINTS)["pip"].split("."))
    assert pinned >= install.FIRST_PIP_WITH_A_DRY_DRY_RUN
