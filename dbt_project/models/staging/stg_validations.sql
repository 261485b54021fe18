select *
from {{ source('raw', 'validations') }}
