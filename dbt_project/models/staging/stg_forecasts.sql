select *
from {{ source('raw', 'forecasts') }}
qualify row_number() over (partition by forecast_id order by made_at) = 1
