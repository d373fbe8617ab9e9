"""The front of speculative decoding and of beam search."""

from __future__ import annotations

import pytest

from highnoon.inference import QSGGenerator, generate, generate_beam

PROMPT = [5, 9, 30]


@pytest.mark.slow
@pytest.mark.parametrize("strategy, options", [("greedy", {}), ("sample", {"seed": 3, "temperature": 0.7})])
def test_it_says_what_plain_decoding_says(model, strategy: str, options: dict) -> None:
    generator = QSGGenerator(model, 2, strategy, quality_threshold=None)
    plain = generate(model, PROMPT, max_length=20, **({"temperature": 0} | options))
    assert generator.generate(PROMPT, max_length=20, **options) == plain
    assert generator.tokens_per_pass >= 1


def test_beam_is_a_search_with_as_many_beams(model) -> None:
    assert QSGGenerator(model, 3, "beam").generate(PROMPT, max_length=5) == generate_beam(
        model, PROMPT, num_beams=3, max_length=5
    )


@pytest.mark.slow
def test_the_speed_up_is_a_ratio_of_times_that_were_taken(new_model, monkeypatch) -> None:
    ticks = iter(range(0, 10_000))
    monkeypatch.setattr("highnoon.compat.qsg_generator.time.perf_counter", lambda: next(ticks) ** 2)
    figures = QSGGenerator(new_model(12), 2, quality_threshold=None).measure([4, 4], rounds=1, max_length=30)
    # The second round took 4**2 - 3**2 and 5**2 - 4**2.
    assert figures["speed_up"] == pytest.approx(7 / 9)
    assert figures["tokens_per_pass"] >= 1 and 0 <= figures["acceptance_rate"] <= 1


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"num_superposition_states": 0}, "`num_superposition_states` must be .* at least 1; received 0"),
        ({"collapse_strategy": "measure"}, "one of greedy, sample, beam; received 'measure'"),
        ({"quality_threshold": 1.0}, "`quality_threshold` must be in .* received 1.0"),
    ],
)
def test_bad_arguments_are_named(model, kwargs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QSGGenerator(model, **kwargs)


def test_greedy_takes_no_temperature_and_beam_no_stopwatch(model) -> None:
    with pytest.raises(ValueError, match="`temperature` must be 0 .* received 0.7"):
        QSGGenerator(model).generate(PROMPT, temperature=0.7)
    with pytest.raises(ValueError, match="greedy and sample in at least 1 round; received 'beam' and 3"):
        QSGGenerator(model, collapse_strategy="beam").measure(PROMPT)
