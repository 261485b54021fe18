{{ of_last_attempt('samples') }}
