-- sentinels belong to no comparison
with trials as (
    select study_id, trial_id, hardware_class, status, is_measured
    from {{ ref('int_trial_status') }}
    where not is_sentinel
),

levels as (
    select study_id, trial_id, factor, assigned as level, assigned_value as value
    from {{ ref('stg_treatments') }}
    semi join trials using (study_id, trial_id)
    union all
    select study_id, trial_id, 'hardware_class', hardware_class, null from trials
),

spread as (
    select study_id, factor, count(distinct level) as levels, bool_and(value is not null) as is_number
    from levels
    group by study_id, factor
),

quarters as (
    select
        levels.*,
        spread.levels,
        spread.is_number,
        spread.is_number and spread.levels > 10 as is_binned,
        ntile(4) over (partition by levels.study_id, levels.factor order by levels.value, levels.trial_id) as quarter
    from levels
    join spread using (study_id, factor)
)

select
    quarters.study_id,
    quarters.trial_id,
    trials.hardware_class,
    trials.status,
    trials.is_measured,
    quarters.factor,
    case
        when quarters.is_binned
            then
                printf('%g to %g', min(quarters.value) over arm, max(quarters.value) over arm)
        else quarters.level
    end as level,
    quarters.value,
    quarters.level is distinct from factors.otherwise as is_applicable,
    factors.reference is not null
        and quarters.level is distinct from factors.reference
        and quarters.value is distinct from try_cast(factors.reference as double) as is_off_reference,
    quarters.is_number and factors.kind != 'categorical' and factors.assignment != 'blocked' as is_number,
    factors.is_treatment
from quarters
join {{ ref('int_study_factors') }} as factors using (study_id, factor)
join trials using (study_id, trial_id)
where quarters.levels > 1 and factors.assignment != 'placebo'
window arm as (partition by quarters.study_id, quarters.factor, quarters.is_binned, quarters.quarter)
