select
    study_id,
    studies.study_name,
    hardware_class,
    hardware_id,
    represents,
    cpus,
    threads,
    memory_bytes,
    is_emulated,
    not_emulated
from {{ ref('stg_hardware_classes') }}
join {{ ref('dim_studies') }} as studies using (study_id)
