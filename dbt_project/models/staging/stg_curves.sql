select * replace ({{ finite('value') }} as value), value is null or isfinite(value) as is_finite
from ({{ of_last_attempt('curves') }})
