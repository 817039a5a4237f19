"""Settings: where a value comes from, and what happens to names and types that are wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tyro.conf import Positional

from selftaught import settings
from selftaught.errors import InputError, UsageError


@dataclass(frozen=True, kw_only=True)
class Shape:
    layers: int = 2
    """How many."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    shape: Shape = field(default_factory=Shape)
    peak_rate: float = 3e-4
    """Rate."""
    shuffle: bool = True
    """Whether."""
    log_every: int = field(default=10, metadata={"changeable": True})
    """Often."""


@dataclass(frozen=True, kw_only=True)
class Command(settings.Verb):
    """Test verb."""

    recipe: str = "small"
    settings: Plan = field(default_factory=Plan)


RECIPES = {"small": Plan(), "large": Plan(shape=Shape(layers=12), peak_rate=1e-4)}


def resolve(*argv: str) -> settings.Resolved[Command]:
    return settings.resolve(Command, argv, prog="selftaught test", recipes=RECIPES)


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text("peak_rate = 2e-4\n[shape]\nlayers = 5\n")
    resolved = resolve("--recipe", "large", "--plan", str(plan), "--layers", "7", "--no-shuffle")
    assert resolved.command.settings == Plan(shape=Shape(layers=7), peak_rate=2e-4, shuffle=False)
    assert resolved.sources == {
        "shape.layers": "flag",
        "peak_rate": f"plan {plan}",
        "shuffle": "flag",
        "log_every": "default",
    }


def test_recipe_is_named_for_the_values_that_it_changes() -> None:
    resolved = resolve("--recipe", "large")
    assert resolved.command.settings == RECIPES["large"]
    assert resolved.sources["peak_rate"] == "recipe large"
    assert resolved.sources["shuffle"] == "default"


def test_a_flag_that_repeats_the_default_is_still_a_flag() -> None:
    assert resolve("--peak-rate=3e-4").sources["peak_rate"] == "flag"
    assert resolve("--peak_rate", "3e-4").sources["peak_rate"] == "flag"


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean large"):
        resolve("--recipe", "larg")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("peak_rat = 1\n", UsageError, "Did you mean peak_rate"),
        ("[shape]\nlayer = 1\n", UsageError, "Did you mean shape.layers"),
        ('peak_rate = "fast"\n', UsageError, "wrong type"),
        ("[shape]\nlayers = 1.5\n", UsageError, "wrong type"),
        ("peak_rate 3\n", InputError, "not TOML"),
    ],
)
def test_wrong_plan_files_say_what_is_wrong(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(text)
    with pytest.raises(error, match=words):
        resolve("--plan", str(plan))


def test_missing_plan_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the plan"):
        resolve("--plan", str(tmp_path / "none.json"))


def test_unknown_flag_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        resolve("--peak-rat", "3")
    assert stop.value.code == 2
    assert "--peak-rate" in capsys.readouterr().err


@given(
    st.builds(
        Plan, shape=st.builds(Shape, layers=st.integers(1, 99)), peak_rate=st.floats(1e-9, 1), shuffle=st.booleans()
    )
)
def test_a_written_plan_reads_back_the_same(plan: Plan) -> None:
    import tempfile

    import msgspec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_bytes(msgspec.json.encode(settings.as_document(plan)))
        assert resolve("--plan", str(path)).command.settings == plan


@dataclass(frozen=True, kw_only=True)
class Lists:
    block: tuple[Path, ...] = ()
    """Files."""


def test_paths_are_written_and_read_as_text(tmp_path: Path) -> None:
    lists = Lists(block=(Path("a.txt"), Path("b/c.txt")))
    document = settings.as_document(lists)
    assert document == {"block": ["a.txt", "b/c.txt"]}
    path = tmp_path / "plan.toml"
    path.write_text('block = ["a.txt", "b/c.txt"]')
    assert settings.read_plan(path, Lists) == {"block": lists.block}
    path.write_text("block = [3]")
    with pytest.raises(UsageError, match=r"block .* has the wrong type"):
        settings.read_plan(path, Lists)


def test_flags_written_from_settings_give_the_settings_back() -> None:
    plan = Plan(shape=Shape(layers=4), peak_rate=1.25e-3, shuffle=False)
    words = settings.as_flags(plan, Plan())
    assert words == ["--layers", "4", "--peak-rate", "0.00125", "--no-shuffle"]
    assert resolve(*words).command.settings == plan


def test_changeable_settings_and_differences() -> None:
    assert settings.changeable(Plan) == {"log_every"}
    old = settings.as_document(Plan())
    new = settings.as_document(Plan(shape=Shape(layers=3)))
    assert settings.difference(old, new) == ["shape.layers: 2 -> 3"]


def test_settings_that_were_not_there_yet_are_what_their_defaults_are() -> None:
    whole = settings.as_document(Plan())
    assert settings.completed({}, Plan) == whole
    assert settings.completed({"shape": {"layers": 3}, "gone": 1}, Plan) == whole | {"shape": {"layers": 3}, "gone": 1}


@dataclass(frozen=True, kw_only=True)
class Reading(settings.Verb):
    """Test verb with arguments."""

    model: Positional[Path]
    """A model."""
    tasks: Positional[tuple[str, ...]] = ()
    """Names."""
    recipe: Positional[str] = "small"


def test_arguments_without_a_flag_are_called_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit):
            settings.resolve(Reading, ["--help"], prog="test")
        assert "test [-h] MODEL [TASKS ...] [RECIPE] " in capsys.readouterr().out
    assert settings.resolve(Reading, ["m", "a", "b"], prog="test").command.model == Path("m")
