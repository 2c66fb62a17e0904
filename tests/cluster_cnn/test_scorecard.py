"""The numbers as text."""

from __future__ import annotations

from cluster_cnn.scorecard import age_mass_table, card_scores, headline, scorecard


def item(scatter, bias=0.01, oldest=9.5):
    cells = [
        {"log_age": [6.6, 9.0], "log_mass": [2.4, 3.0], "bias": 0.02, "scatter": 0.3, "n": 50},
        {"log_age": [6.6, 9.0], "log_mass": [3.0, 3.6], "bias": -0.04, "scatter": 0.1, "n": 50},
        {"log_age": [9.0, oldest], "log_mass": [2.4, 3.0], "bias": None, "scatter": None, "n": 1},
        {"log_age": [9.0, oldest], "log_mass": [3.0, 3.6], "bias": 0.2, "scatter": 0.2, "n": 50},
    ]
    return {
        "bias": bias,
        "scatter": scatter,
        "rmse": 0.4,
        "coverage68": 0.68,
        "bright": {"scatter": 0.08},
        "by_age_mass": cells,
    }


def metrics(**more):
    return {
        "parameters": {"log_age": item(0.25), "log_mass": item(0.2)},
        "n_clusters": 150,
        "classes": {},
        **more,
    }


def test_the_table_has_ages_as_rows_and_bias_before_scatter():
    lines = age_mass_table(metrics()["parameters"]).splitlines()
    assert lines[0] == "| log age \\ log M | 2.4-3.0 | 3.0-3.6 |"
    assert lines[2].startswith("| 6.6-9.0 | +0.02 / 0.30; +0.02 / 0.30 | -0.04 / 0.10;")
    assert lines[3].startswith("| 9.0-9.5 | - / -; - / - | +0.20 / 0.20;")


def test_the_worst_cell_counts_up_to_three_gyr():
    assert scorecard(metrics()).splitlines()[2].endswith("| - | - | - | - | 0.200 | - | - |")
    old = metrics(parameters={"log_age": item(0.25, oldest=10.1)})
    assert scorecard(old).splitlines()[2].endswith("| 0.040 | - | - |")


def test_compact_clusters_have_a_table_of_their_own():
    inner = {k: v for k, v in item(0.11, oldest=10.1).items() if k != "bright"}
    age = {**item(0.25), "compact": inner}
    text = scorecard(metrics(parameters={"log_age": age}))
    assert text.splitlines()[2].endswith("| 0.200 | 0.110 | 0.040 |")
    assert 'half-light radii up to 1.5"' in text and text.count("log age \\ log M") == 2


def test_the_baseline_stands_beside():
    baseline = {"integrated": {"log_age": {"scatter": 0.5}, "log_mass": {"scatter": 0.4}}}
    text = scorecard(metrics(baseline=baseline))
    assert "| log_age, extinction unknown | +0.010 | 0.250 | 0.400 | 68.0 % |" in text
    assert "| 0.080 | 0.500 | 50 % | - | - |" in text
    assert headline(metrics()) == "150 clusters, scatter: log_age 0.250, log_mass 0.200"
    ablation = {"F814W": {"log_age": {"scatter": 0.6}, "log_mass": {"scatter": 0.5}}}
    assert "| F814W | 0.600 | 0.500 |" in scorecard(metrics(ablation=ablation))


def test_the_card_shows_scatter_beside_photometry_with_extinction_known():
    known = {"log_age": item(0.1724), "av": item(0.1), "size": item(float("nan"))}
    baseline = {"integrated_av_known": {"log_age": {"scatter": 0.33}}}
    assert card_scores(metrics(parameters_av_known=known, baseline=baseline)) == {
        "age_scatter": 0.172,
        "age_scatter_photometry": 0.33,
        "age_coverage68": 68.0,
        "size_coverage68": 68.0,
    }
    assert card_scores(metrics())["mass_scatter"] == 0.2
