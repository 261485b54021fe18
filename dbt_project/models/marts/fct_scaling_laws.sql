with laws as (
    select laws.*, studies.study_name
    from {{ ref('stg_laws') }} as laws
    join {{ ref('dim_studies') }} as studies using (study_id)
),

-- what counts for a study is what its newest fit said, with the code of that time; a law that was dropped is history
newest as (
    select study_name, study_id, code_version
    from laws
    qualify row_number() over (partition by study_name order by fitted_at desc, study_id, code_version) = 1
),

-- fits of one kind land together: on more data a law can have another form, whose parameters bear other names
fits as (
    select study_id, code_version, law, outcome, subgroup, compared_with, max(fitted_at) as fitted_at
    from laws
    group by all
)

select
    laws.law_id,
    laws.study_id,
    laws.study_name,
    laws.data_id,
    laws.code_version,
    laws.law,
    laws.outcome,
    laws.columns,
    laws.subgroup,
    laws.compared_with,
    laws.form,
    laws.formula,
    laws.quantity,
    laws.estimate,
    laws.standard_error,
    laws.ci_low,
    laws.ci_high,
    laws.p_value,
    laws.p_value_adjusted,
    laws.is_identified,
    laws.trials,
    laws.objective,
    laws.verdict,
    laws.reasons,
    laws.warnings,
    laws.sentence,
    laws.choice,
    laws.fitted_at,
    newest.study_name is not null and fits.fitted_at = laws.fitted_at as is_current
from laws
join fits
    on
        laws.study_id = fits.study_id
        and laws.code_version = fits.code_version
        and laws.law = fits.law
        and laws.outcome = fits.outcome
        and laws.subgroup is not distinct from fits.subgroup
        and laws.compared_with is not distinct from fits.compared_with
left join newest
    on laws.study_name = newest.study_name and laws.study_id = newest.study_id and laws.code_version = newest.code_version
