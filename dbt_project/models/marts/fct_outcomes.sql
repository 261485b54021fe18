with units as (
    select study_id, study_name, trial_id, hardware_class, 'trial' as unit_kind, trial_id as unit_id from {{ ref('fct_trials') }}
    union all
    select study_id, study_name, trial_id, hardware_class, 'weights', weights_id from {{ ref('fct_trials') }}
),

outcomes as (
    select unit_id, unit_kind, outcome, value, is_finite, text, reason from {{ ref('stg_outcomes') }}
    union all
    select unit_id, unit_kind, metric, p50, true, null, null
    from {{ ref('int_sample_summaries') }} as summaries
    anti join {{ ref('stg_outcomes') }} as stated
        on summaries.unit_id = stated.unit_id
        and summaries.unit_kind = stated.unit_kind
        and summaries.metric = stated.outcome
)

select
    units.study_id,
    units.study_name,
    units.trial_id,
    units.hardware_class,
    units.unit_kind,
    outcomes.outcome,
    outcomes.value,
    outcomes.is_finite,
    outcomes.text,
    outcomes.reason
from units
join outcomes using (unit_kind, unit_id)
