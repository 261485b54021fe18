-- what stopped the weights stopped the trial: nobody profiles a network that was never made
with ended as (
    select
        assignments.*,
        coalesce(nullif(weights_attempts.status, 'ok'), trial_attempts.status, 'pending') as status,
        case
            when weights_attempts.status != 'ok' then weights_attempts.failure_reason
            else trial_attempts.failure_reason
        end as failure_reason,
        coalesce(trial_attempts.attempts, 0) as attempts,
        trial_attempts.host,
        trial_attempts.slot_order,
        trial_attempts.started_at,
        trial_attempts.ended_at
    from {{ ref('stg_assignments') }} as assignments
    left join {{ ref('stg_attempts') }} as trial_attempts
        on assignments.trial_id = trial_attempts.unit_id and trial_attempts.unit_kind = 'trial'
    left join {{ ref('stg_attempts') }} as weights_attempts
        on assignments.weights_id = weights_attempts.unit_id and weights_attempts.unit_kind = 'weights'
)

-- running out of memory is a measurement: the class cannot do it
select *, status in ('ok', 'out_of_memory') as is_measured, arm = 'sentinel' as is_sentinel
from ended
