select
    forecasts.forecast_id,
    forecasts.study_id,
    studies.study_name,
    forecasts.data_id,
    forecasts.code_version,
    forecasts.law,
    forecasts.subgroup,
    forecasts.form,
    forecasts.outcome,
    forecasts.purpose,
    forecasts.basis,
    forecasts.looks_at,
    forecasts.place,
    forecasts.start,
    forecasts.estimate,
    forecasts.ci_low,
    forecasts.ci_high,
    forecasts.prediction_low,
    forecasts.prediction_high,
    forecasts.difference,
    forecasts.difference_low,
    forecasts.difference_high,
    forecasts.reach,
    forecasts.trials,
    forecasts.sentence,
    forecasts.caveats,
    forecasts.made_at,
    row_number() over (
        partition by
            studies.study_name,
            forecasts.law,
            forecasts.subgroup,
            forecasts.outcome,
            forecasts.purpose,
            forecasts.basis,
            forecasts.looks_at,
            forecasts.place,
            forecasts.start
        order by forecasts.made_at desc, forecasts.forecast_id
    ) = 1 as is_current
from {{ ref('stg_forecasts') }} as forecasts
join {{ ref('dim_studies') }} as studies using (study_id)
