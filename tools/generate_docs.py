"""
Writes what is documented from the code: `make docs`.

The reference pages (settings, controls, metrics, exit codes; English, and Polish in `*.pl.md`), the published runbooks
and the files of the monitoring. `--check` writes nothing and exits 1 when a file in the repository is not what the code
says; the tests do the same.
"""

from __future__ import annotations

import itertools
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType

import msgspec

from stage4 import errors, files, words
from stage4.audit.controls import BASELINE, CONTROLS
from stage4.audit.finding import Control
from stage4.clock import format_duration
from stage4.config import load, settings
from stage4.monitoring.alerts import AlertRule, rules_of
from stage4.monitoring.generate import generate
from stage4.monitoring.plan import plan_of
from stage4.reports.runbook import runbooks
from stage4.telemetry.catalogue import DESK, METRICS, Metric
from stage4.words import Language

REPOSITORY = Path(__file__).resolve().parent.parent
_NAMED_TYPES = {
    settings.DurationText: "type_duration",
    settings.TimeOfDay: "type_time",
    settings.Window: "type_window",
}
_PLAIN_TYPES = {str: "type_text", bool: "type_switch", int: "type_whole", float: "type_number"}
_WAIVER = """\
waivers:
  - control: X509-13
    subject: "ser*"
    owner: l2-marek
    approver: po-anna
    ticket: OPS-1812
    justification: the exchange's CA writes no key identifiers; a new one comes in December
    granted: 2026-11-23
    expires: 2026-12-31"""
_BOUNDS = {"gt": "> ", "ge": "≥ ", "lt": "< ", "le": "≤ "}


def documents(repository: Path = REPOSITORY) -> Mapping[Path, bytes]:
    """Every generated file of the repository, by its path below it."""
    pages = {
        Path("docs") / f"{name}{'' if lang == 'en' else f'.{lang}'}.md": page(lang).encode("utf-8")
        for name, page in PAGES.items()
        for lang in words.languages
    }
    published = {Path("docs/runbooks") / name: content for name, content in runbooks().items()}
    return {**pages, **published, **generate(load(repository))}


def stale(repository: Path = REPOSITORY) -> list[Path]:
    """The generated files that are missing or not what the code says."""
    return [
        path
        for path, content in documents(repository).items()
        if not (repository / path).is_file() or (repository / path).read_bytes() != content
    ]


def settings_page(lang: Language) -> str:
    """Every section with its fields."""
    seen: dict[type, str] = {}
    parts = [_head("settings", lang)]
    for path, section in _sections(settings.Settings, ""):
        rows = [row for field in msgspec.structs.fields(section) if (row := _setting(section, field, lang))]
        if not rows:
            continue
        parts += [f"## `{path}`", ""]
        if section in seen:
            parts += [_say("as_above", lang, path=seen[section]), ""]
            continue
        seen[section] = path
        parts += _table([_say(name, lang) for name in ("field", "type", "default", "meaning")], rows)
    return _page(parts)


def controls_page(lang: Language) -> str:
    """Every control of the audit by its group, and the form of a waiver."""
    parts = [_head("controls", lang)]
    for group, controls in itertools.groupby(CONTROLS, key=lambda control: control.group):
        held = list(controls)
        parts += [f"## {group}: {words.text(held[0].group_code, lang)}", ""]
        for control in held:
            parts += _control(control, lang)
    parts += [f"## {_say('waivers', lang)}", "", _say("waivers_intro", lang), "", "```yaml", _WAIVER, "```"]
    return _page(parts)


def _control(control: Control, lang: Language) -> list[str]:
    def say(name: str, /, **params: object) -> str:
        return words.text(f"audit_report.{name}", lang, **params)

    star = " *" if control in BASELINE else ""
    lines = [
        say("explain_severity", severity=say(f"severity_{control.severity}")),
        say("explain_why", why=words.text(control.rationale_code, lang)),
        say("explain_do", step=words.hint(control.code, lang)),
    ]
    if control.references:
        lines.append(say("explain_references", references=", ".join(control.references)))
    lines.append(say("explain_waivable" if control.waivable else "explain_not_waivable"))
    heading = f"### `{control.id}`{star} {words.text(control.code, lang)}"
    return [heading, "", *(f"- {line}" for line in lines), ""]


def metrics_page(lang: Language) -> str:
    """Every metric with its thresholds, and every alert that follows from them."""
    rows = [
        (
            f"`{metric.name}`" + (" ↓" if metric.direction == "lower_is_worse" else ""),
            metric.type,
            metric.unit,
            ", ".join(f"`{label}`" for label in metric.labels),
            _thresholds(metric, lang),
            words.text(metric.help_code, lang),
        )
        for metric in METRICS
    ]
    heads = [_say(name, lang) for name in ("metric", "type", "unit", "labels", "thresholds", "meaning")]
    alerts = [_alert(rule) for rule in rules_of(plan_of(load(REPOSITORY)))]
    alert_heads = [_say(name, lang) for name in ("alert", "severity", "kind", "metric", "lasting", "calls")]
    second = [f"## {_say('alerts', lang)}", "", _say("alerts_intro", lang), ""]
    return _page([_head("metrics", lang), *_table(heads, rows), *second, *_table(alert_heads, alerts)])


def exit_codes_page(lang: Language) -> str:
    """The exit codes, and the classes of errors that lead to them."""
    rows = [
        (f"`{code.value}` {code.name}", _say(f"exit_{code.value}", lang), _say(f"exit_{code.value}_next", lang))
        for code in errors.ExitCode
    ]
    raised = [(f"`{kind.__name__}`", f"`{kind.exit_code.value}`") for kind in _error_classes(errors.Stage4Error)]
    heads = [_say(name, lang) for name in ("code", "meaning", "automation")]
    second = [f"## {_say('errors', lang)}", ""]
    classes = _table([_say("error_class", lang), _say("code", lang)], raised)
    return _page([_head("exit_codes", lang), *_table(heads, rows), *second, *classes])


PAGES = {
    "settings": settings_page,
    "controls": controls_page,
    "metrics": metrics_page,
    "exit-codes": exit_codes_page,
}


def setting_codes() -> set[str]:
    """The catalogue codes that `docs/settings.md` speaks."""
    return {
        _setting_code(section, field)
        for _, section in _sections(settings.Settings, "")
        for field in msgspec.structs.fields(section)
        if _section_of(field.type) is None
    }


def _sections(section: type, path: str) -> Iterator[tuple[str, type]]:
    """A section and those below it, each with its path in the file."""
    yield path, section
    for field in msgspec.structs.fields(section):
        below = _section_of(field.type)
        if below is not None:
            kind, suffix = below
            yield from _sections(kind, f"{path}.{field.encode_name}".lstrip(".") + suffix)


def _section_of(kind: object) -> tuple[type, str] | None:
    """The section that a field holds, and how its path goes on: a name for a mapping, `[]` for a list."""
    if isinstance(kind, type) and issubclass(kind, settings.Section):
        return kind, ""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is dict and (below := _section_of(arguments[1])):
        return below[0], ".<name>" + below[1]
    if typing.get_origin(kind) is tuple and (below := _section_of(arguments[0])):
        return below[0], "[]" + below[1]
    return None


def _setting_code(section: type, field: msgspec.structs.FieldInfo) -> str:
    words_of_name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in section.__name__)
    return f"setting.{words_of_name.lstrip('_')}_{field.name}"


def _setting(section: type, field: msgspec.structs.FieldInfo, lang: Language) -> tuple[str, str, str, str] | None:
    if _section_of(field.type) is not None:
        return None
    default = field.default if field.default is not msgspec.NODEFAULT else None
    if field.required:
        shown = _say("required", lang)
    elif field.default_factory is not msgspec.NODEFAULT or default in (None, (), {}, ""):
        shown = "–"
    else:
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
    meaning = words.text(_setting_code(section, field), lang)
    return f"`{field.encode_name}`", _type(field.type, lang), shown, meaning


def _type(kind: object, lang: Language) -> str:
    if kind in _NAMED_TYPES:
        return _say(_NAMED_TYPES[kind], lang)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        meta = arguments[1]
        limits = {sign: getattr(meta, name) for name, sign in _BOUNDS.items()}
        # That numbers end goes without saying.
        bounds = [
            sign + f"{limit:g}"
            for sign, limit in limits.items()
            if limit is not None and abs(limit) != settings.ENDLESS
        ]
        return ", ".join([_type(arguments[0], lang), *bounds])
    if origin is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (typing.Union, UnionType):
        return _type(next(each for each in arguments if each is not NoneType), lang)
    if origin is tuple:
        return _say("type_list", lang, of=_type(arguments[0], lang))
    if origin is dict:
        return _say("type_map", lang, of=_type(arguments[1], lang))
    return _say(_PLAIN_TYPES[typing.cast("type", kind)], lang)


def _thresholds(metric: Metric, lang: Language) -> str:
    def shown(profile: str) -> str:
        found = metric.thresholds[profile]
        return f"{found.warning:g}" + ("" if found.critical is None else f" / {found.critical:g}")

    profiles = [profile for profile in metric.thresholds if profile != DESK]
    if not profiles:
        return "–"
    if len({shown(profile) for profile in profiles}) == 1:
        return f"{_say('thresholds_for_all', lang)}: {shown(profiles[0])}"
    return "<br>".join(f"{profile}: {shown(profile)}" for profile in profiles)


def _alert(rule: AlertRule) -> tuple[str, ...]:
    hold = format_duration(rule.hold) if rule.hold else "–"
    return f"`{rule.name}`", rule.severity, rule.kind or "–", f"`{rule.metric.name}`", hold, rule.escalate or "–"


def _error_classes(kind: type[errors.Stage4Error]) -> Iterator[type[errors.Stage4Error]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _error_classes(below)


def _say(name: str, lang: Language, /, **params: object) -> str:
    return words.text(f"reference.{name}", lang, **params)


def _head(name: str, lang: Language) -> str:
    return f"<!-- {_say('generated', lang)} -->\n\n# {_say(name, lang)}\n\n{_say(f'{name}_intro', lang)}\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def _page(parts: Sequence[str]) -> str:
    return "\n".join(parts).rstrip() + "\n"


def main(arguments: Sequence[str]) -> int:
    behind = stale()
    for path in behind:
        print(path)
        if "--check" not in arguments:
            target = REPOSITORY / path
            target.parent.mkdir(parents=True, exist_ok=True)
            files.atomic_write(target, documents()[path])
    return 1 if behind and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
