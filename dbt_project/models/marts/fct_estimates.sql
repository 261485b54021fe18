with estimates as (
    select estimates.*, studies.study_name
    from {{ ref('stg_estimates') }} as estimates
    join {{ ref('dim_studies') }} as studies using (study_id)
),

-- what counts for a study is what its newest estimation said, with the code of that time; a question that was dropped is history
newest as (
    select study_name, study_id, code_version
    from estimates
    qualify row_number() over (partition by study_name order by estimated_at desc, study_id, code_version) = 1
)

select
    estimates.estimate_id,
    estimates.study_id,
    estimates.study_name,
    estimates.data_id,
    estimates.code_version,
    estimates.estimand,
    estimates.treatment,
    estimates.outcome,
    estimates.subgroup_column,
    estimates.subgroup,
    estimates.contrast_from,
    estimates.contrast_to,
    estimates.per,
    estimates.method,
    estimates.is_primary,
    estimates.adjustment,
    estimates.estimand_expression,
    estimates.method_estimand,
    estimates.estimate,
    estimates.standard_error,
    estimates.ci_low,
    estimates.ci_high,
    estimates.p_value,
    estimates.p_value_adjusted,
    estimates.confidence_set,
    estimates.trials,
    estimates.clusters,
    estimates.effective_trials,
    estimates.nuisance_r2_treatment,
    estimates.nuisance_r2_outcome,
    estimates.stratum,
    estimates.verdict,
    estimates.reasons,
    estimates.caveats,
    estimates.seed,
    estimates.library_versions,
    estimates.estimated_at,
    newest.study_name is not null and row_number() over (
        partition by
            estimates.study_id,
            estimates.code_version,
            estimates.estimand,
            estimates.subgroup_column,
            estimates.subgroup,
            estimates.contrast_from,
            estimates.contrast_to,
            estimates.method,
            estimates.stratum
        order by estimates.estimated_at desc, estimates.estimate_id
    ) = 1 as is_current
from estimates
left join newest using (study_name, study_id, code_version)
