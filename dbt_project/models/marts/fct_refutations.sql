select
    refutations.estimate_id,
    refutations.study_id,
    estimates.study_name,
    estimates.estimand,
    estimates.treatment,
    estimates.outcome,
    estimates.method,
    estimates.subgroup_column,
    estimates.subgroup,
    estimates.contrast_from,
    estimates.contrast_to,
    refutations.refuter,
    refutations.verdict,
    refutations.reason,
    refutations.statistic,
    refutations.p_value,
    refutations.simulations,
    refutations.details,
    refutations.refuted_at,
    estimates.is_current
from {{ ref('stg_refutations') }} as refutations
join {{ ref('fct_estimates') }} as estimates using (estimate_id)
