"""Confidences against scikit-learn, brute force, and simulated data whose chances are known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from newsimg.datatypes import Candidates, Image
from newsimg.evaluation.confidence.calibration import (
    fit_calibration,
    load_calibration,
    rate_first,
)
from newsimg.evaluation.confidence.features import describe_first
from newsimg.evaluation.confidence.reliability import measure_reliability

SETTING = {"backbone.model": "tiny", "weight.value": "0.15"}


def simulate(n_queries, seed):
    """Return features, and whether the first picture is right, with chances that are known."""
    random = np.random.default_rng(seed)
    features = {"fused": random.normal(0.05, 0.01, n_queries), "gap": random.random(n_queries)}
    chances = 1 / (1 + np.exp(-(-1.0 + 90 * (features["fused"] - 0.05) + 1.5 * features["gap"])))
    return features, random.random(n_queries) < chances, chances


def fit(features, is_right, isotonic=False):
    return fit_calibration(features, is_right, isotonic=isotonic, setting=SETTING, n_images=100)


@pytest.mark.parametrize("isotonic", [False, True])
def test_the_confidence_is_that_of_scikit_learn_also_after_it_is_read_back(isotonic, tmp_path):
    features, is_right, _ = simulate(600, 1)
    unseen, _, _ = simulate(200, 2)
    fit(features, is_right, isotonic).save(tmp_path / "confidence.json")
    found = load_calibration(tmp_path / "confidence.json", SETTING).predict(unseen)

    table, new = (pd.DataFrame(values).to_numpy() for values in (features, unseen))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table, is_right)
    expected = model.predict_proba(new)[:, 1]
    if isotonic:
        steps = IsotonicRegression(out_of_bounds="clip")
        steps.fit(model.decision_function(table), is_right)
        expected = steps.predict(model.decision_function(new))
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("isotonic", [False, True])
def test_confidences_approach_the_true_chances(isotonic):
    features, is_right, _ = simulate(8000, 3)
    unseen, right, chances = simulate(3000, 4)
    confidences = fit(features, is_right, isotonic).predict(unseen)
    assert np.abs(confidences - chances).mean() < 0.03
    found = measure_reliability(confidences, right, 10)
    assert found.measures["value"]["ece"] < 0.04
    # About 95 of 100 intervals hold the mean confidence of perfectly calibrated bins.
    perfect = measure_reliability(chances, right, 100).bins
    inside = (perfect["low"] <= perfect["confidence"]) & (perfect["confidence"] <= perfect["high"])
    assert 88 <= inside.sum() <= 100
    assert measure_reliability(chances**2, right, 10).measures["value"]["ece"] > 0.1


def test_ece_brier_and_the_risks_are_those_of_brute_force():
    random = np.random.default_rng(5)
    confidences = np.round(random.random(137), 2)  # with ties
    right = random.random(137) < confidences
    found = measure_reliability(confidences, right, 8)
    values = found.measures["value"]
    assert values["brier"] == pytest.approx(brier_score_loss(right, confidences))
    assert values["brier_constant"] == pytest.approx(right.mean() * (1 - right.mean()))

    cuts = np.quantile(confidences, np.arange(1, 8) / 8)
    bins = [sum(c >= cut for cut in cuts) for c in confidences]
    error = 0.0
    for number in set(bins):
        inside = np.array([b == number for b in bins])
        gap = abs(confidences[inside].mean() - right[inside].mean())
        error += inside.sum() / 137 * gap
    assert values["ece"] == pytest.approx(error)
    assert found.bins["n_queries"].sum() == 137

    risks = [(~right[confidences >= c]).mean() for c in confidences]
    assert values["aurc"] == pytest.approx(np.mean(risks))
    for row in found.risks.itertuples():
        kept = confidences >= row.threshold
        assert row.coverage == pytest.approx(kept.mean())
        assert row.risk == pytest.approx((~right[kept]).mean())
    assert len(found.risks) == len(set(confidences))
    assert (found.measures["low"] <= found.measures["high"]).all()
    for name in ("brier", "aurc"):
        assert found.measures["low"][name] < values[name] < found.measures["high"][name]


def make_candidates():
    images = tuple(Image(f"i{n}", Path(f"{n}")) for n in range(4))
    rows = np.array([[2, 0, 1], [1, 3, 0]])
    scores = np.array([[0.9, 0.7, 0.1], [0.5, 0.5, 0.4]])
    parts = {
        "retrieval": np.array([[0.3, 0.4, 0.2], [0.8, 0.1, 0.2]], dtype=np.float32),
        "rerank": np.array([[5, 1, 2], [3, 3, 3]], dtype=np.float32),
        "criterion/quality": np.array([[np.nan, 1, 2], [4, 3, 3]], dtype=np.float32),
    }
    return Candidates(images, rows, scores, parts)


def test_the_features_are_those_of_the_first_candidate():
    found = describe_first(make_candidates())
    assert list(found) == [
        *("fused", "gap", "retrieval", "retrieval_lead", "rerank", "criterion/quality")
    ]
    np.testing.assert_allclose(found["fused"], [0.9, 0.5])
    np.testing.assert_allclose(found["gap"], [0.2, 0])
    np.testing.assert_allclose(found["retrieval"], [0.3, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found["retrieval_lead"], [-0.1, 0.6], rtol=1e-6)
    np.testing.assert_allclose(found["rerank"], [5, 3])
    np.testing.assert_allclose(found["criterion/quality"], [np.nan, 4])


def test_an_unknown_component_score_counts_as_the_mean():
    features, is_right, _ = simulate(300, 6)
    features["criterion/quality"] = np.where(np.arange(300) % 3 == 0, np.nan, features["gap"])
    calibration = fit(features, is_right)
    one = {name: np.array([0.05]) for name in features} | {"criterion/quality": np.array([np.nan])}
    mean = float(np.nanmean(features["criterion/quality"]))
    same = one | {"criterion/quality": np.array([mean])}
    np.testing.assert_allclose(calibration.predict(one), calibration.predict(same))


def test_a_file_of_another_setting_or_of_something_else_is_refused(tmp_path):
    features, is_right, _ = simulate(100, 7)
    path = tmp_path / "confidence.json"
    fit(features, is_right).save(path)
    with pytest.raises(ValueError, match=r"calibrated with weight.value 0.15 \(now 0.3\): "):
        load_calibration(path, SETTING | {"weight.value": "0.3"})
    with pytest.raises(ValueError, match=r"calibrated with weight.k unset \(now 60\)"):
        load_calibration(path, SETTING | {"weight.k": "60"})
    with pytest.raises(FileNotFoundError, match=r"no calibration at .*task=calibrate writes one"):
        load_calibration(tmp_path / "none.json", SETTING)
    for broken in ("", "[]", "{}", '{"format": 1}', json.dumps({"format": 1, "steps": 3})):
        (tmp_path / "broken.json").write_text(broken)
        with pytest.raises(ValueError, match="is no calibration written by newsimg task=calib"):
            load_calibration(tmp_path / "broken.json", SETTING)
    with pytest.raises(ValueError, match="calibrated on fused, gap, got fused, gap, retrieval"):
        rate_first(load_calibration(path, SETTING), make_candidates(), 100)


def test_a_pool_of_another_size_is_warned_of(caplog):
    features = describe_first(make_candidates())
    many = {name: np.tile(values, 20) for name, values in features.items()}
    calibration = fit(many, np.arange(40) % 4 == 0)
    for n_images, n_warnings in ((100, 0), (60, 0), (199, 0), (200, 1), (50, 2)):
        rate_first(calibration, make_candidates(), n_images)
        assert len(caplog.records) == n_warnings
    assert "calibrated among 100 pictures and is used among 200" in caplog.text


def test_headlines_that_are_all_right_or_all_wrong_cannot_be_calibrated():
    features, _, _ = simulate(10, 8)
    for is_right in (np.zeros(10, dtype=bool), np.ones(10, dtype=bool)):
        with pytest.raises(ValueError, match=r"first picture is right and others whose is wrong"):
            fit(features, is_right)
