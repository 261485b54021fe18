{#
  Analysis views: one row per trial that is no sentinel, one column per factor, outcome and indicator, made from each study's registered spec.

  `analysis_versions.<study_id>` is there for every version, `analysis.<study_name>` shows the newest. Names go into SQL
  only if they look like names; the columns below win over a factor of the same name, except the measures, which do not.
#}
{% macro create_analysis_views(results) %}
{% if execute %}
    {% set built = [] %}
    {% for result in results if result.node.name in ('fct_trials', 'fct_treatments', 'fct_outcomes') and result.status == 'success' %}
        {% do built.append(result.node.name) %}
    {% endfor %}
    {% if built | length == 3 %}
        {% set statements = ['create schema if not exists analysis_versions', 'create schema if not exists analysis'] %}
        {% for study in run_query(_analysis_columns_query()).rows if is_name(study['study_name']) %}
            {% do statements.append(analysis_view(study)) %}
            {% if study['is_current'] %}
                {% do statements.append('create or replace view analysis."' ~ study['study_name'] ~ '" as select * from analysis_versions."' ~ study['study_id'] ~ '"') %}
            {% endif %}
        {% endfor %}
        {% do run_query(statements | join(';\n')) %}
    {% endif %}
{% endif %}
{% endmacro %}


{% macro is_name(text) %}{{ return(modules.re.match('^[a-z][a-z0-9_]{0,62}$', text) is not none) }}{% endmacro %}


{# What each version's view is made of: its factors (is it a number?), and outcomes that have no column in fct_trials. #}
{% macro _analysis_columns_query() %}
select
    study_id,
    study_name,
    is_current,
    spec,
    (
        select to_json(map_from_entries(list((factor, is_number))))
        from (
            select factor, bool_and(assigned_value is not null) as is_number
            from marts.fct_treatments as treatments
            where treatments.study_id = studies.study_id
            group by factor
        )
    ) as factors,
    (
        select to_json(list(distinct outcome))
        from marts.fct_outcomes as outcomes
        where outcomes.study_id = studies.study_id and outcomes.value is not null
    ) as outcomes
from marts.dim_studies as studies
{% endmacro %}


{% macro analysis_view(study) %}
{% set keys = ['study_id', 'trial_id', 'weights_id', 'hardware_class', 'arm', 'block', 'replicate', 'position', 'status', 'is_measured'] %}
{% set measures = [
    'is_oom', 'is_diverged', 'accuracy', 'weights_accuracy', 'accuracy_as_served', 'accuracy_before_finetuning', 'loss', 'latency_ms',
    'latency_p95_ms', 'latency_p99_ms', 'latency_samples', 'peak_memory_bytes', 'memory_utilisation', 'load_ms', 'throughput_images_per_s',
    'loading_ms', 'parameters', 'nonzero_parameters', 'flops', 'flops_share', 'realised_pruning_ratio',
    'attempts', 'slot_order'
] %}
{% set factors = {} %}
{% for name, is_number in (fromjson(study['factors'] or '{}')).items() if is_name(name) and name not in keys %}
    {% do factors.update({name: is_number}) %}
{% endfor %}
{% set kept = measures | reject('in', factors.keys() | list) | list %}
{% set others = (fromjson(study['outcomes'] or '[]') or []) | select('string') | reject('in', keys + measures + (factors.keys() | list)) | sort %}
{% set columns = keys + (factors.keys() | list) + kept + (others | list) %}
create or replace view analysis_versions."{{ study['study_id'] }}" as
with factors as (
    select
        trial_id
        {%- for name, is_number in factors.items() %},
        max({{ 'assigned_value' if is_number else 'assigned' }}) filter (where factor = '{{ name }}') as "{{ name }}"
        {%- endfor %}
    from marts.fct_treatments
    where study_id = '{{ study['study_id'] }}'
    group by trial_id
),

outcomes as (
    select
        trial_id
        {%- for name in others if is_name(name) %},
        max(value) filter (where outcome = '{{ name }}') as "{{ name }}"
        {%- endfor %}
    from marts.fct_outcomes
    where study_id = '{{ study['study_id'] }}'
    group by trial_id
),

trials as (
    select
        {%- for name in keys %}
        trials."{{ name }}",
        {%- endfor %}
        {%- for name in factors %}
        factors."{{ name }}",
        {%- endfor %}
        {%- for name in kept %}
        trials."{{ name }}"{{ '::integer as "' ~ name ~ '"' if name in ('is_oom', 'is_diverged') }},
        {%- endfor %}
        {%- for name in others if is_name(name) %}
        outcomes."{{ name }}",
        {%- endfor %}
    from marts.fct_trials as trials
    left join factors using (trial_id)
    left join outcomes using (trial_id)
    where trials.study_id = '{{ study['study_id'] }}' and not trials.is_sentinel
)

select
    *
    {%- for indicator in fromjson(study['spec']).get('indicators', []) if is_name(indicator['name']) and indicator['name'] not in columns and indicator['column'] in columns %},
    case when "{{ indicator['column'] }}" is not null then ("{{ indicator['column'] }}" {{ ('> ' ~ (indicator['above'] | float)) if indicator['above'] is not none else ('< ' ~ (indicator['below'] | float)) }})::integer end as "{{ indicator['name'] }}"
    {%- endfor %}
from trials
{% endmacro %}
