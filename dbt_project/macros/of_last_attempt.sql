{# Rows of a raw table that belong to the attempt that counts: the last one of its unit that landed as a whole. #}
{% macro of_last_attempt(table) -%}
    select landed.*
    from {{ source('raw', table) }} as landed
    semi join {{ ref('stg_attempts') }} as attempts
        on landed.unit_kind = attempts.unit_kind
        and landed.unit_id = attempts.unit_id
        and landed.attempt = attempts.attempt
{%- endmacro %}
