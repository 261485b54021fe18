select *
from {{ source('raw', 'configurations') }}
qualify row_number() over (partition by study_id, data_id, code_version, hardware_class, configuration order by computed_at desc) = 1
