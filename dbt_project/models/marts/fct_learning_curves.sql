-- a trial that only trains has a curve of its own; other trials share the curve of their weights
with weights_of_trials as (
    select distinct trial_id, weights_id from {{ ref('stg_assignments') }}
)

select
    coalesce(trials.weights_id, curves.unit_id) as weights_id,
    trials.trial_id,
    curves.attempt,
    curves.is_attempt_finished,
    curves.phase,
    curves.split,
    curves.step,
    curves.metric,
    curves.value,
    curves.is_finite
from {{ ref('stg_curves') }} as curves
left join weights_of_trials as trials on curves.unit_kind = 'trial' and curves.unit_id = trials.trial_id
where curves.unit_kind = 'weights' or trials.trial_id is not null
