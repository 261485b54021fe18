select *
from {{ source('raw', 'assignments') }}
semi join {{ ref('stg_study_versions') }} using (study_id)
qualify row_number() over (partition by study_id, trial_id order by position) = 1
