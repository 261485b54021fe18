with shared_factors as (
    select
        study_id,
        trial_id,
        max(assigned_value) filter (where factor = 'pruning_ratio') as pruning_ratio,
        max(assigned_value) filter (where factor = 'target_flops') as target_flops,
        max(assigned) filter (where factor = 'pruning_method') as pruning_method,
        max(assigned) filter (where factor = 'recovery') as recovery,
        max(assigned_value) filter (where factor = 'batch_size') as batch_size,
        max(assigned_value) filter (where factor = 'seed') as seed
    from {{ ref('stg_treatments') }}
    group by study_id, trial_id
)

select
    trials.study_id,
    studies.study_name,
    trials.trial_id,
    trials.weights_id,
    trials.workload,
    trials.hardware_class,
    classes.hardware_id,
    trials.arm,
    trials.block,
    trials.replicate,
    trials.position,
    trials.status,
    trials.failure_reason,
    trials.is_measured,
    trials.is_sentinel,
    trials.status = 'out_of_memory' as is_oom,
    trials.status = 'diverged' or coalesce(weights.has_non_finite, false) as is_diverged,
    trials.attempts,
    -- a recorded trial has what belongs to weights from its own row: which weights it had, its table does not say
    case when trials.status = 'ok' then coalesce(weights.accuracy, measured.accuracy) end as accuracy,
    weights.accuracy as weights_accuracy,
    case when trials.status = 'ok' then measured.accuracy_as_served end as accuracy_as_served,
    coalesce(weights.accuracy_before_finetuning, measured.accuracy_before_finetuning) as accuracy_before_finetuning,
    coalesce(weights.loss, measured.loss) as loss,
    case when trials.status = 'ok' then coalesce(latency.p50, measured.latency_ms) end as latency_ms,
    case when trials.status = 'ok' then coalesce(latency.p95, measured.latency_p95_ms) end as latency_p95_ms,
    case when trials.status = 'ok' then coalesce(latency.p99, measured.latency_p99_ms) end as latency_p99_ms,
    case when trials.status = 'ok' then latency.samples end as latency_samples,
    measured.peak_memory_bytes::bigint as peak_memory_bytes,
    measured.memory_utilisation,
    measured.load_ms,
    case when trials.status = 'ok' then measured.throughput_images_per_s end as throughput_images_per_s,
    case when trials.status = 'ok' then measured.loading_ms end as loading_ms,
    coalesce(weights.parameters, measured.parameters)::bigint as parameters,
    coalesce(weights.nonzero_parameters, measured.nonzero_parameters)::bigint as nonzero_parameters,
    coalesce(weights.flops, measured.flops)::bigint as flops,
    weights.flops_share,
    shared_factors.pruning_ratio,
    shared_factors.target_flops,
    realised.realised_value as realised_pruning_ratio,
    shared_factors.pruning_method,
    shared_factors.recovery,
    shared_factors.batch_size::bigint as batch_size,
    shared_factors.seed::bigint as seed,
    trials.host,
    trials.slot_order,
    trials.started_at,
    trials.ended_at
from {{ ref('int_trial_status') }} as trials
join {{ ref('dim_studies') }} as studies using (study_id)
left join {{ ref('dim_hardware_classes') }} as classes
    on trials.study_id = classes.study_id and trials.hardware_class = classes.hardware_class
left join shared_factors
    on trials.study_id = shared_factors.study_id and trials.trial_id = shared_factors.trial_id
left join {{ ref('int_measurements') }} as weights
    on trials.weights_id = weights.unit_id and weights.unit_kind = 'weights'
left join {{ ref('int_measurements') }} as measured
    on trials.trial_id = measured.unit_id and measured.unit_kind = 'trial'
left join {{ ref('stg_realised') }} as realised
    on trials.weights_id = realised.unit_id and realised.unit_kind = 'weights' and realised.factor = 'pruning_ratio'
left join {{ ref('int_sample_summaries') }} as latency
    on trials.trial_id = latency.unit_id and latency.unit_kind = 'trial' and latency.metric = 'latency_ms'
