{# Every rule (rule -> SQL condition) holds in every row; null counts as held. All rules in one query. #}
{% test holds(model, rules) %}
{% for rule, condition in rules.items() %}
select '{{ rule }}' as broken_rule, * from {{ model }} where not ({{ condition }})
{% if not loop.last %}union all by name{% endif %}
{% endfor %}
{% endtest %}
