{# NaN and infinities compare as greater than every number, so they become null here; `is_finite` beside them says so. #}
{% macro finite(column) -%}
    case when isfinite({{ column }}) then {{ column }} end
{%- endmacro %}
