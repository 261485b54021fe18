select *
from {{ source('raw', 'hardware_classes') }}
semi join {{ ref('stg_study_versions') }} using (study_id)
qualify row_number() over (partition by study_id, hardware_class order by hardware_id) = 1
