with specs as (
    select study_id, spec::json as spec from {{ ref('stg_study_versions') }}
),

factors as (
    select study_id, spec, unnest(spec -> '$.factors[*]') as factor from specs
),

indicators as (
    select study_id, unnest(spec -> '$.indicators[*]') as indicator from specs
),

treatments as (
    select study_id, unnest(spec ->> '$.estimands[*].treatment') as treatment from specs
),

-- an indicator stands for the factor that it is made from
treated_factors as (
    select distinct
        treatments.study_id,
        coalesce(indicators.indicator ->> '$.column', treatments.treatment) as factor
    from treatments
    left join indicators
        on treatments.study_id = indicators.study_id
        and treatments.treatment = indicators.indicator ->> '$.name'
)

select
    factors.study_id,
    factors.factor ->> '$.name' as factor,
    factors.factor ->> '$.kind' as kind,
    factors.factor ->> '$.assignment' as assignment,
    factors.factor ->> '$.otherwise' as otherwise,
    factors.factor ->> '$.reference' as reference,
    treated_factors.factor is not null as is_treatment
from factors
left join treated_factors
    on factors.study_id = treated_factors.study_id
    and factors.factor ->> '$.name' = treated_factors.factor

union all

select
    specs.study_id,
    'hardware_class' as factor,
    'categorical' as kind,
    'crossed' as assignment,
    null as otherwise,
    null as reference,
    treated_factors.factor is not null as is_treatment
from specs
left join treated_factors on specs.study_id = treated_factors.study_id and treated_factors.factor = 'hardware_class'
