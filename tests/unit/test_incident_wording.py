"""Timeline events in words."""

from __future__ import annotations

from stage4.incidents.wording import event_text, outcome_text


def test_an_escalation_says_its_reason_in_the_language_of_the_reader() -> None:
    told = event_text("l2_called", {"reason": "panels"}, "pl")
    assert told != event_text("l2_called", {"reason": "panels"}, "en")
    assert "panels" not in told


def test_an_outcome_without_a_text_is_shown_by_its_code() -> None:
    assert "step.of_an_older_version" in event_text(
        "step_result", {"step": "L1.1", "outcome": "step.of_an_older_version"}, "en"
    )


def test_an_event_without_a_text_or_without_its_parameters_is_shown_by_its_kind() -> None:
    assert event_text("moved_elsewhere", {}, "en") == "moved_elsewhere"
    assert event_text("step_result", {}, "en") == "step_result"


def test_the_states_of_panels_are_said_in_words() -> None:
    params = {"panels": "avg_abs_zscore: red, secondary_delay_ms: no_data, other: unheard"}
    told = outcome_text("step.panels_good", params, "pl")
    assert "avg_abs_zscore: czerwony, secondary_delay_ms: brak danych, other: unheard" in told


def test_a_code_that_nobody_knows_draws_nothing_on_the_terminal() -> None:
    assert outcome_text("step.\x1b[2J\u202e", {}, "en") == "step.\\x1b[2J\\u202e"
    assert event_text("\x9bJ", {}, "en") == "\\x9bJ"
    assert "\x1b" not in outcome_text("step.panels_read", {"panels": "pnl: \x1b[2J"}, "en")
