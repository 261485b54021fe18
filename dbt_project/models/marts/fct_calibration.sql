-- what each forecast says of its place, one row per column of it
with wanted as (
    select
        forecast_id,
        study_id,
        study_name,
        outcome,
        purpose,
        made_at,
        column_name,
        json_extract_string(place, '$."' || column_name || '"') as level
    from (select *, unnest(json_keys(place)) as column_name from {{ ref('fct_forecasts') }})
),

-- what trials have, assigned or measured
had as (
    select study_id, trial_id, factor as column_name, assigned as level, assigned_value as value from {{ ref('fct_treatments') }}
    union all
    select study_id, trial_id, 'hardware_class', hardware_class, null from {{ ref('fct_trials') }}
    union all
    select study_id, trial_id, outcome, null, max(value) from {{ ref('fct_outcomes') }} where is_finite group by all
),

outcomes as (
    select study_id, trial_id, outcome, max(value) as value from {{ ref('fct_outcomes') }} where is_finite group by all
),

-- a column that is both assigned and measured counts as assigned
levels as (
    select * from had
    qualify row_number() over (partition by study_id, trial_id, column_name order by level nulls last) = 1
),

-- other settings (a data set, say) make another treatment of the same levels
versions as (
    select study_id, spec ->> '$.workload' as workload from {{ ref('dim_studies') }}
),

-- trials of the same configuration, of any version of the study: what was asked for is compared with what came later only
met as (
    select wanted.forecast_id, trials.study_id, trials.trial_id
    from wanted
    join {{ ref('fct_trials') }} as trials
        on wanted.study_name = trials.study_name
        and trials.status = 'ok'
        and (wanted.purpose = 'asked' and trials.ended_at > wanted.made_at or wanted.purpose <> 'asked' and trials.study_id = wanted.study_id)
    join versions as asked on wanted.study_id = asked.study_id
    join versions as ran on trials.study_id = ran.study_id and asked.workload = ran.workload
    join levels
        on trials.study_id = levels.study_id
        and trials.trial_id = levels.trial_id
        and wanted.column_name = levels.column_name
        and (
            wanted.level = levels.level
            or abs(try_cast(wanted.level as double) / nullif(levels.value, 0) - 1) < 1e-4
        )
    group by wanted.forecast_id, trials.study_id, trials.trial_id
    having count(*) = (select count(*) from wanted as all_of_it where all_of_it.forecast_id = wanted.forecast_id)
)

select
    forecasts.forecast_id,
    met.trial_id,
    forecasts.study_name,
    forecasts.law,
    forecasts.subgroup,
    forecasts.form,
    forecasts.outcome,
    forecasts.purpose,
    forecasts.basis,
    forecasts.looks_at,
    forecasts.place,
    forecasts.reach,
    case when forecasts.reach <= 0.05 then 'within' when forecasts.reach < 1 then 'beyond' else 'far beyond' end as reach_word,
    forecasts.estimate as forecast,
    forecasts.prediction_low,
    forecasts.prediction_high,
    outcomes.value as observed,
    outcomes.value - forecasts.estimate as error,
    case when outcomes.value > 0 and forecasts.estimate > 0 then ln(outcomes.value / forecasts.estimate) end as log_error,
    outcomes.value between forecasts.prediction_low and forecasts.prediction_high as is_in_interval,
    forecasts.made_at,
    trials.ended_at
from met
join {{ ref('fct_forecasts') }} as forecasts using (forecast_id)
join {{ ref('fct_trials') }} as trials on met.study_id = trials.study_id and met.trial_id = trials.trial_id
join outcomes on met.study_id = outcomes.study_id and met.trial_id = outcomes.trial_id and forecasts.outcome = outcomes.outcome
-- versions of a study share trials
qualify row_number() over (partition by forecasts.forecast_id, met.trial_id order by met.study_id) = 1
