"""Judgings of several runs among simulated people, whose true preferences are known.

A person sees two pictures of an article and finds each as appealing as `newsimg.sample.raters`
says, with the person's strictness and noise. Neither fits if both are below 2; they are equally
good if they differ by less than 0.5; else the better one is chosen.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from simulated_ratings import MODEL, Population

from newsimg.app.judging.questions import PAIR, Question, Ranked, Shown, list_shown, plan_pairs
from newsimg.app.judging.results import COLUMNS
from newsimg.datatypes import FusedArray
from newsimg.evaluation.ratings.preference import fit_strengths

LEAST, EQUAL = 2.0, 0.5
N_PEOPLE = 300  # for each question, for the truth


def rank_runs(population: Population, weights: dict[str, float]) -> dict[str, Ranked]:
    """Return runs: each ranks the candidates c0, c1, ... of the articles at a weight."""
    runs = {}
    for name, weight in weights.items():
        fused = (1 - weight) * population.retrieval + weight * population.rerank
        order = np.argsort(-fused, axis=1, kind="stable")
        runs[name] = {f"q{i}": [f"c{c}" for c in row] for i, row in enumerate(order.tolist())}
    return runs


def judge(
    population: Population,
    runs: dict[str, Ranked],
    random: np.random.Generator,
    n_people: int = 6,
    n_each: int = 3,
    n_pairs: int | None = None,
) -> tuple[pd.DataFrame, Shown]:
    """Have new people answer; return the answers as `read_answers` has them, and what is shown."""
    seed = int(random.integers(2**32))
    asked = plan_pairs(list(runs.values()), n_pairs=n_pairs, n_raters=n_each, n_checks=0, seed=seed)
    strictness = MODEL.draw_strictness(n_people, random)
    rows = []
    for one in asked:
        people = random.permutation(n_people)[:n_each]
        choices = choose(population, one, strictness[people], random)
        for person, choice in zip(people, choices, strict=True):
            own = (one.article_id, one.first, one.second, f"r{person}", choice)
            rows.append((*own, PAIR, 0, "first", 1.0))
    return pd.DataFrame(rows, columns=list(COLUMNS)), list_shown(runs, asked)


def choose(
    population: Population, one: Question, strictness: FusedArray, random: np.random.Generator
) -> np.ndarray:
    """Return the answers of some people to a question."""
    own = population.appeal[int(one.article_id[1:])]
    first, second = (
        own[int(image_id[1:])] - strictness + random.normal(0, MODEL.noise, len(strictness))
        for image_id in (one.first, one.second)
    )
    better = np.where(first > second, "first", "second").astype(object)
    better[abs(first - second) < EQUAL] = "tie"
    better[np.maximum(first, second) < LEAST] = "neither"
    return better


def find_truth(
    population: Population, runs: dict[str, Ranked]
) -> tuple[dict[tuple[str, str], float], FusedArray]:
    """Return the true preference of each pair of runs, and the strengths, by very many people."""
    random = np.random.default_rng(0)
    asked = plan_pairs(list(runs.values()), n_pairs=None, n_raters=1, n_checks=0, seed=0)
    shares = {}
    for one in asked:
        strictness = MODEL.draw_strictness(N_PEOPLE, random)
        choices = choose(population, one, strictness, random)
        won, lost = ((choices == side).mean() for side in ("first", "second"))
        shares[one.article_id, one.first, one.second] = (won, lost)
        shares[one.article_id, one.second, one.first] = (lost, won)
    names = list(runs)
    wins, ties = np.zeros((2, len(names), len(names)))
    preferences = {}
    for i, j in combinations(range(len(names)), 2):
        first, second = runs[names[i]], runs[names[j]]
        keys = [(one, first[one][0], second[one][0]) for one in first]
        table = np.array([shares[key] for key in keys if key in shares])
        wins[i, j], wins[j, i] = table.sum(axis=0)
        ties[i, j] = ties[j, i] = (1 - table.sum(axis=1)).sum()
        preferences[names[i], names[j]] = float((table[:, 1] - table[:, 0]).mean())
    return preferences, fit_strengths(wins, ties)[0]
