select *
from ({{ of_last_attempt('realised') }})
qualify row_number() over (partition by unit_kind, unit_id, factor order by realised) = 1
