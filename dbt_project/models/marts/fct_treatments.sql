select
    treatments.study_id,
    trials.study_name,
    treatments.trial_id,
    treatments.factor,
    treatments.assigned,
    treatments.assigned_value,
    coalesce(of_trial.realised, of_weights.realised) as realised,
    coalesce(of_trial.realised_value, of_weights.realised_value) as realised_value
from {{ ref('stg_treatments') }} as treatments
join {{ ref('fct_trials') }} as trials
    on treatments.study_id = trials.study_id and treatments.trial_id = trials.trial_id
left join {{ ref('stg_realised') }} as of_trial
    on trials.trial_id = of_trial.unit_id and of_trial.unit_kind = 'trial' and treatments.factor = of_trial.factor
left join {{ ref('stg_realised') }} as of_weights
    on trials.weights_id = of_weights.unit_id and of_weights.unit_kind = 'weights' and treatments.factor = of_weights.factor
