select *
from ({{ of_last_attempt('profiles') }})
qualify row_number() over (partition by unit_kind, unit_id, metric order by value) = 1
