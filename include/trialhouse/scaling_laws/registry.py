"""The forms there are. `L` is a loss or an error, `n` the one factor of a form, `N` size and `D` data.

`E` is what no amount of the factor removes (the irreducible loss), `beta` and its like are exponents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations, product

import numpy as np

from trialhouse.errors import LawError
from trialhouse.scaling_laws.forms import Array, Form, Parameter, Points, sum_of

Term = Callable[[Array, Points], tuple[Array, Mapping[int, Array]]]
EXPONENTS = (0.05, 0.12, 0.25, 0.4, 0.6, 1.0, 1.6)
"""Where searches start; published exponents lie between .05 and 1."""

E = Parameter("E", "irreducible loss", "of the outcome", "log")
A = Parameter("A", "loss above E at n = 1", "of the outcome", "log")
BETA = Parameter("beta", "exponent")


def _softplus(z: Array) -> Array:
    return np.logaddexp(0, z)


def _sigmoid(z: Array) -> Array:
    return np.exp(-np.logaddexp(0, -z))


def _column(coordinates: Array, k: int) -> Array:
    return coordinates[..., k, None]


def _floor(k: int) -> Term:
    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        level = _column(coordinates, k) + np.zeros_like(next(iter(points.values())))
        return level, {k: np.ones_like(level)}

    return term


def _power(constant: int, exponent: int, role: str = "n") -> Term:
    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        log_n = points[role]
        return _column(coordinates, constant) - _column(coordinates, exponent) * log_n, {constant: np.ones(1), exponent: -log_n}

    return term


def _product(constant: int, exponents: Mapping[str, int]) -> Term:
    """One power of each role, multiplied."""

    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        level = _column(coordinates, constant) - sum(_column(coordinates, k) * points[role] for role, k in exponents.items())
        return level, {constant: np.ones(1), **{k: -points[role] for role, k in exponents.items()}}

    return term


def _shifted(constant: int, exponent: int, shift: int) -> Term:
    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        log_n, beta, nu = points["n"], _column(coordinates, exponent), _column(coordinates, shift)
        moved = np.logaddexp(log_n, nu)
        slopes = {constant: np.ones(1), exponent: -moved, shift: -beta * _sigmoid(nu - log_n)}
        return _column(coordinates, constant) - beta * moved, slopes

    return term


def _saturating(constant: int, exponent: int, rate: int) -> Term:
    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        log_n, beta, gamma = points["n"], _column(coordinates, exponent), _column(coordinates, rate)
        level = np.logaddexp(-log_n, gamma)
        return _column(coordinates, constant) + beta * level, {
            constant: np.ones(1),
            exponent: level,
            rate: beta * _sigmoid(gamma + log_n),
        }

    return term


def _decay(constant: int, scale: int) -> Term:
    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        ratio = np.exp(np.clip(points["n"] - _column(coordinates, scale), -700, 300))
        return _column(coordinates, constant) - ratio, {constant: np.ones(1), scale: ratio}

    return term


def _broken(constant: int, exponent: int, breaks: tuple[tuple[int, int, int], ...]) -> Term:
    """Caballero et al. (2023), equation 1; each break has the change of slope, the place and the width in log n."""

    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        log_n = points["n"]
        level = _column(coordinates, constant) - _column(coordinates, exponent) * log_n
        slopes: dict[int, Array] = {constant: np.ones(1), exponent: -log_n}
        for change, place, width in breaks:
            c, f = _column(coordinates, change), np.exp(np.clip(_column(coordinates, width), -20, 20))
            z = (log_n - _column(coordinates, place)) / f
            bend, share = f * _softplus(z), _sigmoid(z)
            level = level - c * bend
            slopes |= {change: -bend, place: c * share, width: -c * (bend - f * z * share)}
        return level, slopes

    return term


def _coupled(power: int, pairs: Mapping[str, tuple[int, int]]) -> Term:
    """(sum of A_j / x_j^a_j) ^ c."""

    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        c = _column(coordinates, power)
        inner = sum_of(*(_power(constant, exponent, role) for role, (constant, exponent) in pairs.items()))
        level, slopes = inner(coordinates, points)
        found = {k: c * slopes[..., k, :] for pair in pairs.values() for k in pair}
        return c * level, {**found, power: level}

    return term


def _repeated(constant: int, exponent: int, patience: int) -> Term:
    """B / D'^beta with D' = U (1 + R* (1 - exp(-R / R*))), R = D / U - 1 repetitions of the U <= D distinct examples that were seen."""

    def term(coordinates: Array, points: Points) -> tuple[Array, Mapping[int, Array]]:
        beta, star = _column(coordinates, exponent), np.exp(np.clip(_column(coordinates, patience), -30, 30))
        unique = np.minimum(points["unique"], points["data"])  # of more no trial has seen more than it has seen
        repeats = np.expm1(points["data"] - unique)
        fading = np.exp(-repeats / star)
        worth = 1 + star * -np.expm1(-repeats / star)
        log_data = unique + np.log(worth)
        slope = (star * -np.expm1(-repeats / star) - repeats * fading) / worth
        return _column(coordinates, constant) - beta * log_data, {constant: np.ones(1), exponent: -log_data, patience: -beta * slope}

    return term


def _transition(coordinates: Array, points: Points) -> tuple[Array, Array]:
    """Alabdulmohsin et al. (2022), M4, as z / (1 - z)^alpha = A n^-beta with z = (L - E) / R: solved by Newton in the logit of z."""
    floor, span, constant, beta, alpha_log = (_column(coordinates, k) for k in range(5))
    alpha = np.exp(np.clip(alpha_log, -20, 20))
    target = constant - beta * points["n"]
    v = np.where(target < 0, target, target / alpha)
    for _ in range(60):
        slope = _sigmoid(-v) + alpha * _sigmoid(v)
        step = (-_softplus(-v) + alpha * _softplus(v) - target) / slope
        v = v - np.clip(step, -10, 10)
        if (np.abs(step) < 1e-12 * (1 + np.abs(v))).all():
            break
    slope = _sigmoid(-v) + alpha * _sigmoid(v)
    level = np.logaddexp(floor, span - _softplus(-v))
    share = np.exp(span - _softplus(-v) - level)
    per_v = share * _sigmoid(-v)
    found = [1 - share, share, per_v / slope, -per_v / slope * points["n"], -per_v * alpha * _softplus(v) / slope]
    return level, np.stack(np.broadcast_arrays(*found), axis=-2)


def _bounded(coordinates: Array, points: Points) -> tuple[Array, Array]:
    """Score = chance + (1 - chance) / (1 + (n0 / n)^beta)."""
    chance, place, beta = _sigmoid(_column(coordinates, 0)), _column(coordinates, 1), _column(coordinates, 2)
    distance = points["n"] - place
    share = _sigmoid(beta * distance)
    steep = (1 - chance) * share * (1 - share)
    found = [chance * (1 - chance) * (1 - share), -steep * beta, steep * distance]
    return chance + (1 - chance) * share, np.stack(np.broadcast_arrays(*found), axis=-2)


# --- where searches start: given the exponents the constants are linear (variable projection, Golub & Pereyra 1973) ---


def _constants(bases: Array, outcome: Array) -> Array:
    """Logarithms of positive constants (s x m) that bring bases (s x m x n) near the outcome (n), in relative terms."""
    weighted = bases / outcome
    size = np.sqrt((weighted**2).mean(axis=-1, keepdims=True))
    weighted = weighted / size
    gram = weighted @ weighted.swapaxes(-1, -2) + 1e-9 * len(outcome) * np.eye(bases.shape[-2])
    solved = np.linalg.solve(gram, weighted.sum(axis=-1)[..., None])[..., 0]
    return np.asarray(np.log(np.maximum(solved, 0.02)) - np.log(size[..., 0]))


def _exp(log_base: Array) -> Array:
    return np.exp(np.clip(log_base, -300, 300))


def _with_floor(shapes: Array, outcome: Array) -> tuple[Array, Array]:
    """Logarithms of the floor (s) and of the constants (s x m) for terms whose logarithms are `shapes` (s x m x n)."""
    ones = np.ones((len(shapes), 1, shapes.shape[-1]))
    found = _constants(np.concatenate([ones, _exp(shapes)], axis=1), outcome)
    return found[:, 0], found[:, 1:]


def _places(log_n: Array, count: int) -> Array:
    return np.quantile(np.unique(log_n), np.linspace(0.1, 0.9, count))


def _powers_grid(roles: tuple[str, ...], has_floor: bool, exponents: tuple[float, ...] = EXPONENTS) -> Callable[[Points, Array], Array]:
    def grid(points: Points, outcome: Array) -> Array:
        betas = np.array(list(product(exponents, repeat=len(roles))))
        shapes = -betas[:, :, None] * np.stack([points[role] for role in roles])
        if not has_floor:
            constants = _constants(_exp(shapes), outcome)
            return np.stack([constants, betas], axis=2).reshape(len(betas), -1)
        floor, constants = _with_floor(shapes, outcome)
        return np.column_stack([floor, np.stack([constants, betas], axis=2).reshape(len(betas), -1)])

    return grid


def _one_factor_grid(shape: Callable[[float, float, Array], Array], inner: Callable[[Array], Array]) -> Callable[[Points, Array], Array]:
    """Starts (E, A, beta, inner) for a term A * shape(beta, inner, log n)."""

    def grid(points: Points, outcome: Array) -> Array:
        log_n = points["n"]
        pairs = list(product(EXPONENTS, inner(log_n)))
        floor, constants = _with_floor(np.array([[shape(beta, nu, log_n)] for beta, nu in pairs]), outcome)
        return np.column_stack([floor, constants[:, 0], np.array(pairs)])

    return grid


def _decay_grid(points: Points, outcome: Array) -> Array:
    log_n = points["n"]
    scales = np.linspace(log_n.min() - 1, log_n.max() + 1, 12)
    floor, constants = _with_floor(np.array([[-np.exp(log_n - scale)] for scale in scales]), outcome)
    return np.column_stack([floor, constants[:, 0], scales])


def _broken_grid(breaks: int) -> Callable[[Points, Array], Array]:
    def grid(points: Points, outcome: Array) -> Array:
        log_n = points["n"]
        rows = []
        changes = list(product((-0.3, 0.2, 0.5, 1.0), repeat=breaks))
        for first, own, width in product((0.0, 0.1, 0.3, 0.7), changes, (0.3, 1.0)):
            for places in combinations(_places(log_n, 4), breaks):
                breaks_at = zip(own, places, strict=True)
                rows.append([first, *(value for change, place in breaks_at for value in (change, place, np.log(width)))])
        inner = np.array(rows)
        curve = _broken(0, 1, tuple((2 + 3 * k, 3 + 3 * k, 4 + 3 * k) for k in range(breaks)))
        shape, _ = curve(np.column_stack([np.zeros(len(inner)), inner]), points)
        floor, constants = _with_floor(shape[:, None, :], outcome)
        return np.column_stack([floor, constants[:, 0], inner])

    return grid


def _coupled_grid(has_floor: bool) -> Callable[[Points, Array], Array]:
    def grid(points: Points, outcome: Array) -> Array:
        rows = []
        for c, share in product((0.3, 0.7, 1.0, 2.0), (0.0, 0.3, 0.6, 0.9) if has_floor else (0.0,)):
            floor = share * outcome.min()
            betas = np.array(list(product((0.1, 0.3, 0.6, 1.0), repeat=2)))
            shapes = -betas[:, :, None] * np.stack([points["size"], points["data"]])
            constants = _constants(_exp(shapes), (outcome - floor) ** (1 / c))
            columns = [np.stack([constants, betas], axis=2).reshape(len(betas), -1), np.full((len(betas), 1), c)]
            rows.append(np.column_stack([np.full(len(betas), np.log(floor or outcome.min() / 50)), *columns] if has_floor else columns))
        return np.concatenate(rows)

    return grid


def _product_grid(roles: tuple[str, ...]) -> Callable[[Points, Array], Array]:
    def grid(points: Points, outcome: Array) -> Array:
        betas = np.array(list(product(EXPONENTS, repeat=len(roles))))
        floor, constants = _with_floor((-betas @ np.stack([points[role] for role in roles]))[:, None, :], outcome)
        return np.column_stack([floor, constants, betas])

    return grid


def _repeated_grid(points: Points, outcome: Array) -> Array:
    rows = []
    term = _repeated(0, 1, 2)
    for alpha, beta, star in product((0.1, 0.25, 0.4, 0.7), (0.1, 0.25, 0.4, 0.7), (1.0, 5.0, 25.0)):
        level, _ = term(np.array([0, beta, np.log(star)]), points)
        floor, constants = _with_floor(np.stack([-alpha * points["size"], level])[None], outcome)
        rows.append([floor[0], constants[0, 0], alpha, constants[0, 1], beta, np.log(star)])
    return np.array(rows)


def _transition_grid(points: Points, outcome: Array) -> Array:
    log_n = points["n"]
    rows = []
    for share, beta, place, alpha in product((0.02, 0.5, 0.9), (0.2, 0.5, 1.0), _places(log_n, 3), (0.5, 1.0, 2.0)):
        floor = share * outcome.min()
        rows.append([np.log(floor), np.log(1.05 * outcome.max() - floor), beta * place, beta, np.log(alpha)])
    return np.array(rows)


def _bounded_grid(points: Points, outcome: Array) -> Array:
    lowest = float(np.clip(outcome.min(), 0.01, 0.9))
    chances = [np.log(c / (1 - c)) for c in (0.01, lowest / 2, lowest)]
    return np.array(list(product(chances, _places(points["n"], 5), (0.2, 0.5, 1.0, 2.0))))


def _broken_form(breaks: int) -> Form:
    parameters = [E, A, Parameter("c0", "exponent before the first break")]
    for k in range(1, breaks + 1):
        parameters += [
            Parameter(f"c{k}", f"change of the exponent at break {k}"),
            Parameter(f"d{k}", f"place of break {k}", "of n", "log"),
            Parameter(f"f{k}", f"width of break {k} in log n", "none", "log"),
        ]
    numbers = tuple((3 + 3 * k, 4 + 3 * k, 5 + 3 * k) for k in range(breaks))
    return Form(
        name="broken_power_law" if breaks == 1 else f"broken_power_law_{breaks}",
        formula="L = E + A n^-c0 prod_i (1 + (n / d_i)^(1 / f_i))^(-c_i f_i)" + (f", i = 1..{breaks}" if breaks > 1 else ", i = 1"),
        source="Caballero, Gupta, Rish & Krueger (2023), Broken neural scaling laws, equation 1",
        applies="the slope on log axes changes within the range, also from rising to falling; many parameters, so many points",
        roles=("n",),
        parameters=tuple(parameters),
        curve=sum_of(_floor(0), _broken(1, 2, numbers)),
        grid=_broken_grid(breaks),
        is_monotone=False,
    )


def _additive(name: str, source: str, applies: str, factors: Mapping[str, tuple[str, str, str]]) -> Form:
    """E + sum of one power law per factor; factor -> letter, constant, exponent."""
    parameters = [E]
    for role, (letter, constant, exponent) in factors.items():
        parameters.append(Parameter(constant, f"loss at {letter} = 1 that {role} removes", "of the outcome", "log"))
        parameters.append(Parameter(exponent, f"exponent of {role}"))
    terms = [_power(1 + 2 * k, 2 + 2 * k, role) for k, role in enumerate(factors)]
    return Form(
        name=name,
        formula="L = E + " + " + ".join(f"{constant} / {letter}^{exponent}" for letter, constant, exponent in factors.values()),
        source=source,
        applies=applies,
        roles=tuple(factors),
        parameters=tuple(parameters),
        curve=sum_of(_floor(0), *terms),
        grid=_powers_grid(tuple(factors), True, EXPONENTS if len(factors) < 3 else (0.1, 0.3, 0.6, 1.0)),
    )


_SIZE_AND_DATA = (
    Parameter("A", "inner constant of size", "see formula", "log"),
    Parameter("alpha", "inner exponent of size"),
    Parameter("B", "inner constant of data", "see formula", "log"),
    Parameter("beta", "inner exponent of data"),
    Parameter("c", "outer exponent"),
)

_ALL = (
    Form(
        name="pure_power_law",
        formula="L = A n^-beta",
        source="Hestness et al. (2017); Alabdulmohsin et al. (2022), M1",
        applies="the loss is far above what is irreducible, or nothing is; else forecasts are far too good",
        roles=("n",),
        parameters=(Parameter("A", "loss at n = 1", "of the outcome", "log"), BETA),
        curve=sum_of(_power(0, 1)),
        grid=_powers_grid(("n",), False),
    ),
    Form(
        name="power_law",
        formula="L = E + A n^-beta",
        source="Hestness et al. (2017), equation 1; Alabdulmohsin et al. (2022), M2",
        applies="one factor grows and nothing else limits; needs a range in which E shows",
        roles=("n",),
        parameters=(E, A, BETA),
        curve=sum_of(_floor(0), _power(1, 2)),
        grid=_powers_grid(("n",), True),
    ),
    Form(
        name="shifted_power_law",
        formula="L = E + A (n + n0)^-beta",
        source="Domhan, Springenberg & Hutter (2015), pow4; Viering & Loog (2021)",
        applies="the curve is flat for small n and a power law after it",
        roles=("n",),
        parameters=(E, A, BETA, Parameter("n0", "shift: below it the curve is flat", "of n", "log")),
        curve=sum_of(_floor(0), _shifted(1, 2, 3)),
        grid=_one_factor_grid(lambda beta, nu, log_n: -beta * np.logaddexp(log_n, nu), lambda log_n: _places(log_n, 4) - 1),
    ),
    Form(
        name="saturating_power_law",
        formula="L = E + A (1/n + gamma)^beta",
        source="Alabdulmohsin, Neyshabur & Zhai (2022), M3",
        applies="the curve levels off sooner than a power law with E does",
        roles=("n",),
        parameters=(E, A, BETA, Parameter("gamma", "1 / gamma is where it levels off", "1 / n", "log")),
        curve=sum_of(_floor(0), _saturating(1, 2, 3)),
        grid=_one_factor_grid(lambda beta, g, log_n: beta * np.logaddexp(-log_n, g), lambda log_n: -_places(log_n, 4) - 1),
    ),
    Form(
        name="transition_power_law",
        formula="z / (1 - z)^alpha = A n^-beta, z = (L - E) / R",
        source="Alabdulmohsin, Neyshabur & Zhai (2022), M4 (theirs has A R^(alpha - 1) in the place of A)",
        applies="the curve starts at the level of guessing, E + R, and becomes a power law",
        roles=("n",),
        parameters=(
            E,
            Parameter("R", "loss of guessing above E", "of the outcome", "log"),
            Parameter("A", "scale: (L - E) / R at n = 1, were it a power law", "none", "log"),
            BETA,
            Parameter("alpha", "how sharply guessing ends", "none", "log"),
        ),
        curve=_transition,
        grid=_transition_grid,
    ),
    _broken_form(1),
    _broken_form(2),
    Form(
        name="exponential",
        formula="L = E + A exp(-n / n0)",
        source="Viering & Loog (2021), exp3",
        applies="an optimiser that converges linearly, or finitely many things to learn: no power law",
        roles=("n",),
        parameters=(E, A, Parameter("n0", "n that divides the loss above E by e", "of n", "log")),
        curve=sum_of(_floor(0), _decay(1, 2)),
        grid=_decay_grid,
    ),
    Form(
        name="bounded",
        formula="score = chance + (1 - chance) / (1 + (n0 / n)^beta)",
        source="Ruan, Maddison & Hashimoto (2024), equation 3: the logit of the score over chance is linear in log n",
        applies="an accuracy or a score between chance and 1 that rises with n; fix `chance` where guessing is known",
        roles=("n",),
        parameters=(
            Parameter("chance", "score of guessing", "of the outcome", "logit"),
            Parameter("n0", "n at which half of the way from chance to 1 is done", "of n", "log"),
            BETA,
        ),
        curve=_bounded,
        grid=_bounded_grid,
        is_log=False,
    ),
    _additive(
        "chinchilla",
        "Hoffmann et al. (2022), equation 2; Besiroglu et al. (2024)",
        "size and data vary separately, each trial trained to the end of its schedule",
        {"size": ("N", "A", "alpha"), "data": ("D", "B", "beta")},
    ),
    _additive(
        "size_steps",
        "Kaplan et al. (2020), equation 1.6, with an irreducible loss; theirs is that with E fixed at 0",
        "no data are repeated so often that they limit; steps are counted at one batch size, each trial trained to the end of its schedule",
        {"size": ("N", "A", "alpha"), "steps": ("S", "C", "gamma")},
    ),
    _additive(
        "size_steps_data",
        "Kaplan et al. (2020), equations 1.5 and 1.6, as a sum; Bahri et al. (2021) on when each term limits",
        "size, steps and the amount of distinct data vary separately: L(N, S, D), of which any one may limit",
        {"size": ("N", "A", "alpha"), "steps": ("S", "C", "gamma"), "data": ("D", "B", "beta")},
    ),
    Form(
        name="coupled",
        formula="L = E + (A / N^alpha + B / D^beta)^c",
        source="Rosenfeld et al. (2020) and Kaplan et al. (2020), equation 1.5, with an irreducible loss",
        applies="size and data limit each other more than a sum says; one parameter more than chinchilla",
        roles=("size", "data"),
        parameters=(E, *_SIZE_AND_DATA),
        curve=sum_of(_floor(0), _coupled(5, {"size": (1, 2), "data": (3, 4)})),
        grid=_coupled_grid(True),
    ),
    Form(
        name="pure_coupled",
        formula="L = (A / N^alpha + B / D^beta)^c",
        source="Kaplan et al. (2020), equation 1.5, which has beta = 1",
        applies="as coupled, where the loss is far above what is irreducible",
        roles=("size", "data"),
        parameters=_SIZE_AND_DATA,
        curve=sum_of(_coupled(4, {"size": (0, 1), "data": (2, 3)})),
        grid=_coupled_grid(False),
    ),
    Form(
        name="multiplicative",
        formula="L = E + A / (N^alpha D^beta)",
        source="Zhang, Liu, Cherry & Firat (2024), When scaling meets LLM finetuning, equation 1",
        applies="size and data each divide the loss by as much whatever the other is: small networks and data, or fine-tuning",
        roles=("size", "data"),
        parameters=(
            E,
            Parameter("A", "loss above E at N = D = 1", "of the outcome", "log"),
            Parameter("alpha", "exponent of size"),
            Parameter("beta", "exponent of data"),
        ),
        curve=sum_of(_floor(0), _product(1, {"size": 2, "data": 3})),
        grid=_product_grid(("size", "data")),
        has_best_split=False,
    ),
    _additive(
        "width_depth",
        "McLeish et al. (2025), Gemstones, approach 3 with width and depth",
        "width and depth vary separately",
        {"width": ("W", "A", "alpha"), "depth": ("P", "B", "beta"), "data": ("D", "C", "gamma")},
    ),
    _additive(
        "width_depth_size",
        "McLeish et al. (2025), Gemstones, approach 3 with width, depth and parameters",
        "width and depth vary separately and the number of parameters matters beside them",
        {
            "width": ("W", "A", "alpha"),
            "depth": ("P", "B", "beta"),
            "size": ("N", "C", "gamma"),
            "data": ("D", "G", "delta"),
        },
    ),
    Form(
        name="data_constrained",
        formula="L = E + A / N^alpha + B / D'^beta, D' = U (1 + R* (1 - exp(-(D/U - 1) / R*)))",
        source="Muennighoff et al. (2023), equations 5 and 6, without the decay of excess parameters",
        applies="data are repeated: D examples are seen, U of them distinct; R* is by how many repetitions new ones are worth little",
        roles=("size", "data", "unique"),
        parameters=(
            E,
            Parameter("A", "loss at N = 1 that size removes", "of the outcome", "log"),
            Parameter("alpha", "exponent of size"),
            Parameter("B", "loss at D' = 1 that data remove", "of the outcome", "log"),
            Parameter("beta", "exponent of data"),
            Parameter("R*", "repetitions after which they have lost 63% of their worth", "repetitions", "log"),
        ),
        curve=sum_of(_floor(0), _power(1, 2, "size"), _repeated(3, 4, 5)),
        grid=_repeated_grid,
    ),
)

FORMS: Mapping[str, Form] = {form.name: form for form in _ALL}


def form_named(name: str) -> Form:
    """A form by its name.

    Raises
    ------
    LawError
        If there is none of that name.
    """
    if name not in FORMS:
        raise LawError(f"form must be auto or one of {', '.join(FORMS)}", repr(name), "choose one of them")
    return FORMS[name]
