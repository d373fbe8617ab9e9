"""Records become pairs of documents; pairs share a row, and are never cut from their other half."""

from __future__ import annotations

import numpy as np
import pytest

from highnoon.alignment import LabeledAnswers, PairRows, PreferenceDocuments
from highnoon.config import ConfigError
from highnoon.data import InMemoryDataset, StandardLibrary
from highnoon.data.bad_records import BadRecordError
from highnoon.data.records.read_options import ReadOptions
from highnoon.tokenization import ByteTokenizer
from tests.alignment.conftest import LENGTH, make_labeled, make_preferences, make_store


def turns(*words):
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": word} for number, word in enumerate(words)]


def documents(records, pairs_class=PreferenceDocuments, options=None, **arguments):
    return list(pairs_class(InMemoryDataset(records, options=options), **arguments).documents())


def answers(document):
    return [document.text[begin:end] for begin, end in document.supervised]


def test_texts_turns_and_whole_conversations_give_the_same_pair():
    forms = [
        {"prompt": "Q", "chosen": "yes", "rejected": "no"},
        {"prompt": turns("Q"), "chosen": turns("Q", "yes")[1:], "rejected": turns("Q", "no")[1:]},
        {"chosen": turns("Q", "yes"), "rejected": turns("Q", "no")},
    ]
    pairs = [documents([form]) for form in forms]
    assert pairs[0] == pairs[1] == pairs[2]
    better, worse = pairs[0]
    assert answers(better)[0].startswith("yes") and answers(worse)[0].startswith("no")
    begin = better.supervised[0][0]
    assert better.text[:begin] == worse.text[:begin] and better.split_hash == worse.split_hash


def test_the_implicit_prompt_is_the_turns_that_both_conversations_share():
    better, worse = documents(
        [{"chosen": turns("A", "same", "B", "one", "C", "end"), "rejected": turns("A", "same", "B", "two")}]
    )
    assert "same" not in "".join(answers(better) + answers(worse))
    assert [text.startswith(word) for text, word in zip(answers(better), ("one", "end"), strict=True)] == [
        True
    ] * 2
    assert answers(worse)[0].startswith("two")


def test_every_pair_is_once_in_an_epoch_and_in_one_row(store):
    rows = PairRows(store, row_length=LENGTH)
    view = rows.view(1)
    seen = [view.documents_of(row).tolist() for row in range(view.num_rows)]
    assert sorted(sum(seen, [])) == list(range(rows.num_documents)) and view.num_rows < rows.num_documents
    batch = view.read(0, view.num_rows)
    for row, pairs in enumerate(seen):
        for number, pair in enumerate(pairs, start=1):
            for lane in (0, 1):
                chosen = batch["segment_ids"][row, lane] == number
                np.testing.assert_array_equal(
                    batch["token_ids"][row, lane][chosen], store.tokens(2 * pair + lane)
                )
                supervised = store.supervised(2 * pair + lane)[1:]
                np.testing.assert_array_equal(batch["loss_weights"][row, lane][chosen][:-1], supervised)
                assert batch["positions"][row, lane][chosen].tolist() == list(range(chosen.sum()))


def test_the_prompt_has_the_same_ids_in_both_lanes_and_the_end_token_is_supervised(store):
    for pair in range(len(store) // 2):
        ids = [store.tokens(2 * pair + lane) for lane in (0, 1)]
        starts = [int(np.argmax(store.supervised(2 * pair + lane))) for lane in (0, 1)]
        assert starts[0] == starts[1] and (ids[0][: starts[0]] == ids[1][: starts[0]]).all()
        assert store.supervised(2 * pair)[-1] and ids[0][-1] == ByteTokenizer().eos_token_id


def test_rows_without_packing_hold_one_pair(store):
    view = PairRows(store, row_length=LENGTH, packing=False).view(0)
    assert view.num_rows == len(store) // 2 and view.read(0, 4)["segment_ids"].max() == 1


def test_both_answers_of_a_prompt_are_on_one_side_of_the_split(tmp_path):
    records = make_preferences(40) + [{**one, "rejected": "nothing"} for one in make_preferences(40)]
    store = make_store(tmp_path, records, split=0.3)
    held_out = store.is_validation.reshape(-1, 2)
    assert (held_out[:, 0] == held_out[:, 1]).all() and 0 < held_out.mean() < 1
    assert (held_out[:40] == held_out[40:]).all()


def test_an_answer_of_another_prompt_follows_each_labeled_answer():
    found = documents(make_labeled(3) + make_labeled(1), LabeledAnswers)
    assert [document.label for document in found[::2]] == ["1", "0", "1", "1"]
    prompts = [document.text[: document.supervised[0][0]] for document in found]
    assert prompts[::2] == prompts[1::2]
    # The last prompt is that of the first record, so it takes the answer of the second.
    assert [answers(found[index]) for index in (1, 3, 5, 7)] == [
        answers(found[index]) for index in (2, 4, 6, 2)
    ]


def test_a_preference_counts_as_a_desirable_and_an_undesirable_answer():
    found = documents(make_preferences(2), LabeledAnswers)
    assert [document.label for document in found[::2]] == ["1", "0", "1", "0"]
    assert answers(found[1]) == answers(found[3]) == answers(found[4])


def test_margins_are_columns_by_pair(tmp_path):
    records = [{**one, "margin": n / 4} for n, one in enumerate(make_preferences(6))]
    rows = PairRows(make_store(tmp_path, records, margin_field="margin"), row_length=LENGTH)
    view = rows.view(0)
    batch = view.read(0, view.num_rows)
    for row in range(view.num_rows):
        pairs = view.documents_of(row)
        np.testing.assert_allclose(batch["pair_values"][row, : len(pairs)], pairs / 4)


def test_a_changed_worse_answer_changes_the_fingerprint():
    records = make_preferences(2)
    changed = [{**one, "rejected": "other"} for one in records]
    prints = [PreferenceDocuments(InMemoryDataset(r)).fingerprint() for r in (records, records, changed)]
    assert prints[0] == prints[1] != prints[2]


def test_a_long_answer_is_cut_at_its_end(tmp_path):
    records = [{"prompt": "Q", "chosen": "yes " * 100, "rejected": "no"}]
    store = make_store(tmp_path, records)
    rows = PairRows(store, row_length=LENGTH)
    batch = rows.view(0).read(0, 1)
    assert rows.num_truncated == 1 and batch["segment_ids"][0, 0].all()
    np.testing.assert_array_equal(batch["labels"][0, 0][-5:], store.tokens(0)[LENGTH - 4 : LENGTH + 1])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"prompt": "Q" * LENGTH, "chosen": "a", "rejected": "b"},
            "the prompt fills a row of max_seq_length=192",
        ),
        (
            {"prompt": "Q", "chosen": "same " * 50 + "a", "rejected": "same " * 50 + "b"},
            "both answers are equal in the first 193 tokens",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_or_skipped(tmp_path, record, message):
    store = make_store(tmp_path, [*make_preferences(3), record])
    with pytest.raises(BadRecordError, match=message) as error:
        PairRows(store, row_length=LENGTH)
    assert "record 3" in str(error.value) and "\n" not in str(error.value)
    rows = PairRows(store, row_length=LENGTH, skips_unusable=True)
    assert (rows.num_documents, rows.num_unusable) == (3, 1)
    view = rows.view(0)
    assert sorted(pair for row in range(view.num_rows) for pair in view.documents_of(row)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("record", "pairs_class", "message"),
    [
        ({"prompt": "Q", "chosen": "a", "rejected": "a"}, PreferenceDocuments, "received one answer twice"),
        ({"prompt": "Q", "chosen": "a", "rejected": "a"}, LabeledAnswers, "received one answer twice"),
        ({"prompt": "Q", "chosen": " ", "rejected": "a"}, PreferenceDocuments, "`chosen` is null or empty"),
        ({"prompt": "Q", "chosen": "a"}, PreferenceDocuments, "expected a field `rejected`"),
        (
            {"prompt": "Q", "completion": "a"},
            LabeledAnswers,
            "true for a desirable answer .* received 'None'",
        ),
        ({"prompt": "Q", "completion": "a", "label": "good"}, LabeledAnswers, "received 'good'"),
        ({"prompt": "Q", "completion": "", "label": 1}, LabeledAnswers, "`completion` is null or empty"),
        (
            {"chosen": turns("A", "a"), "rejected": turns("B", "b")},
            LabeledAnswers,
            "must answer the same prompt",
        ),
    ],
)
def test_a_bad_record_is_one_line_with_its_location_or_is_counted(record, pairs_class, message):
    good = make_preferences(2)
    with pytest.raises(BadRecordError, match=f"record 2: .*{message}") as error:
        documents([*good, record], pairs_class)
    assert "\n" not in str(error.value)
    skipped = documents([*good, record], pairs_class, ReadOptions(skip_bad=True))
    assert len(skipped) == 2 * len(good) * (2 if pairs_class is LabeledAnswers else 1)


def test_text_and_one_prompt_are_refused():
    with pytest.raises(ConfigError, match="alignment reads records with a prompt"):
        PreferenceDocuments(StandardLibrary())
    with pytest.raises(BadRecordError, match="`margin` must be the margin"):
        documents([{**make_preferences(1)[0], "margin": "much"}], margin_field="margin")
    with pytest.raises(ConfigError, match="need at least two prompts"):
        documents(make_labeled(1), LabeledAnswers)
