"""What a classification without training is asked: labels, the words that stand for them, and a template. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from selftaught.compute import DeviceName, PrecisionName
from selftaught.errors import UsageError

Method: TypeAlias = Literal["probability", "similarity", "entailment"]
TEXT, LABEL = "{text}", "{label}"
TEMPLATES: dict[Method, str] = {
    "probability": "{text}\nThis text is about {label}.",
    "similarity": "This text is about {label}.",
    "entailment": "This text is about {label}.",
}
"""What a method asks if no template is given."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """What stands before, between and after text and label."""

    before: str
    between: str
    after: str

    @property
    def whole(self) -> str:
        """The template as it is written."""
        return f"{self.before}{TEXT}{self.between}{LABEL}{self.after}"

    def phrase(self, label: str) -> str:
        """A label alone, filled in."""
        return f"{self.between}{label}{self.after}"


def parse_template(given: str, *, with_text: bool) -> Template:
    """Cut a template. Raises UsageError for one that does not hold a label and, `with_text`, before it a text."""
    whole = given if LABEL in given else given.replace("{}", LABEL)
    before, text, rest = whole.partition(TEXT) if with_text else ("", TEXT, whole)
    between, label, after = rest.partition(LABEL)
    if not text or not label or TEXT in rest or LABEL in before + after:
        needed = f"{TEXT} once and after it {LABEL} once" if with_text else f"{LABEL} once and no {TEXT}"
        raise UsageError("this template cannot be filled in", expected=needed, got=repr(given))
    return Template(before=before, between=between, after=after)


@dataclass(frozen=True, kw_only=True)
class ClassifySettings:
    """Every choice that a classification depends on."""

    method: Method = "probability"
    """What a label's score is: the log-probability of the label after the text; how similar the network's states are for text and
    label (the cosine of their means); or the log-probability that the text entails the label, by a fine-tuned model."""
    template: str = ""
    """How text and label are put: {text} and then {label}, which may be written {}; for the other methods the label
    alone. Empty: the method's own."""
    calibrate: bool = False
    """Subtract what a label scores on texts that say nothing (contextual calibration, Zhao et al. 2021)."""
    content_free: tuple[str, ...] = ("N/A", "[MASK]", "")
    """Those texts; of what a label scores on them, the mean of probabilities or cosines is used."""
    normalise: Literal["none", "tokens", "bytes"] = "none"
    """Divide a label's log-probability by its length, so that long labels are not the worse for it."""
    keep: Literal["beginning", "end"] = "beginning"
    """Which part of a text longer than the context is read; the template is never cut."""
    device: DeviceName = "auto"
    """Where the model is computed."""
    precision: PrecisionName = "float32"
    """Format of matrix products; auto: bfloat16 where the machine has it."""

    def __post_init__(self) -> None:
        """Refuse a template that has no place for what it must hold."""
        _ = self.parts
        if self.normalise != "none" and self.method != "probability":
            raise UsageError(f"--normalise says nothing about {self.method}", expected="it with --method probability")
        if self.keep != "beginning" and self.method == "entailment":
            raise UsageError(
                "--keep is not for entailment", expected="the rule of the fine-tuned model, which cuts itself"
            )
        if self.calibrate and not self.silent:
            raise UsageError("nothing to calibrate with", expected="at least one text", hint='--content-free "N/A"')

    @property
    def parts(self) -> Template:
        """The template, cut where text and label stand."""
        with_text = self.method == "probability"
        return parse_template(self.template or TEMPLATES[self.method], with_text=with_text)

    @property
    def silent(self) -> tuple[str, ...]:
        """The texts without content; an empty one entails nothing and is left out there."""
        return tuple(one for one in self.content_free if one.strip() or self.method != "entailment")

    @property
    def words(self) -> str:
        """The choices that scores depend on, in words."""
        whole = self.parts.whole if self.method == "probability" else self.parts.phrase(LABEL)
        parts = [self.method, f"template {whole!r}"]
        if self.normalise != "none":
            parts.append(f"divided by {self.normalise}")
        if self.calibrate:
            parts.append(f"calibrated on {', '.join(map(repr, self.silent))}")
        return "; ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Label:
    """A class, and the words that stand for it."""

    name: str
    words: str


def parse_labels(given: str) -> dict[str, str]:
    """Labels as they are typed, `a,b,c` or `0=bad,1=good`: name -> words.

    Raises UsageError for an empty label and for a name that is given twice.
    """
    found: dict[str, str] = {}
    for part in given.split(","):
        name, equals, words = (piece.strip() for piece in part.partition("="))
        if not name or (equals and not words):
            raise UsageError("a label is empty", expected="a,b,c or 0=bad,1=good", got=repr(given))
        if name in found:
            raise UsageError(f"the label {name} is given twice", got=given)
        found[name] = words or name
    return found


def as_labels(given: Sequence[str] | Mapping[str, str]) -> tuple[Label, ...]:
    """Labels from words, or from names with words. Raises UsageError for fewer than two, empty ones and equal ones."""
    if isinstance(given, str):
        given = parse_labels(given)
    pairs = list(given.items()) if isinstance(given, Mapping) else [(one, one) for one in given]
    if len(pairs) < 2:
        raise UsageError("there is nothing to choose from", expected="at least two labels", got=str(len(pairs)))
    for what in (0, 1):
        values = [pair[what].strip() for pair in pairs]
        if not all(values):
            raise UsageError("a label is empty", got=", ".join(map(repr, values)))
        if len(set(values)) < len(values):
            twice = next(one for one in values if values.count(one) > 1)
            raise UsageError(f"the label {twice} is given twice", got=", ".join(values))
    return tuple(Label(name=name.strip(), words=words.strip()) for name, words in pairs)
