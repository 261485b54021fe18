select
    validations.validation_id,
    validations.study_id,
    studies.study_name,
    validations.table_name,
    validations.expectation,
    validations.column_name,
    validations.severity,
    validations.is_success,
    validations.observed,
    validations.failing_rows,
    validations.sentence,
    validations.validated_at,
    rank() over (partition by validations.study_id order by validations.validated_at desc, validations.validation_id) = 1 as is_current
from {{ ref('stg_validations') }} as validations
join {{ ref('dim_studies') }} as studies using (study_id)
