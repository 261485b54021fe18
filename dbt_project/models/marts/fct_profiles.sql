select
    profiles.unit_id,
    profiles.unit_kind,
    profiles.attempt,
    attempts.hardware_class,
    profiles.metric,
    {{ finite('profiles.value') }} as value,
    profiles.text,
    profiles.reason
from {{ ref('stg_profiles') }} as profiles
join {{ ref('stg_attempts') }} as attempts using (unit_kind, unit_id)
