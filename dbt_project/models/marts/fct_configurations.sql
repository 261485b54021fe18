with compared as (
    select configurations.*, studies.study_name
    from {{ ref('stg_configurations') }} as configurations
    join {{ ref('dim_studies') }} as studies using (study_id)
),

newest as (
    select study_name, study_id, data_id, code_version
    from compared
    qualify row_number() over (partition by study_name order by computed_at desc, study_id, data_id, code_version) = 1
)

select
    compared.study_id,
    compared.study_name,
    compared.data_id,
    compared.code_version,
    compared.hardware_class,
    compared.configuration,
    compared.trials,
    compared.out_of_memory,
    compared.oom_share,
    compared.oom_low,
    compared.oom_high,
    compared.weights,
    compared.accuracy,
    compared.accuracy_low,
    compared.accuracy_high,
    compared.latency_ms,
    compared.latency_low_ms,
    compared.latency_high_ms,
    compared.images_per_s,
    compared.peak_memory_bytes,
    compared.peak_memory_low_bytes,
    compared.peak_memory_high_bytes,
    compared.memory_utilisation,
    compared.is_on_front,
    compared.front_share,
    compared.is_within_limits,
    compared.within_limits_share,
    compared.is_best,
    compared.best_share,
    compared.held_out_accuracy,
    compared.computed_at,
    newest.study_name is not null as is_current
from compared
left join newest using (study_name, study_id, data_id, code_version)
