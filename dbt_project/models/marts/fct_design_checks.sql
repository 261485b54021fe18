with trials as (
    select study_id, trial_id, hardware_class, status, is_measured, status in ('crashed', 'timed_out', 'diverged') as is_unexplained
    from {{ ref('int_trial_status') }}
    where not is_sentinel
),

levels as materialized (
    select * from {{ ref('int_design_levels') }}
),

-- every class that the spec names, whether or not a trial was assigned to it
classes as (
    select study_id, unnest(spec ->> '$.hardware_classes[*]') as hardware_class from {{ ref('dim_studies') }}
),

per_class as (
    select
        classes.study_id,
        classes.hardware_class,
        count(trials.trial_id) as assigned,
        count(*) filter (where trials.is_measured) as measured,
        count(*) filter (where trials.status = 'pending') as missing,
        count(*) filter (where trials.is_unexplained) as unexplained
    from classes
    left join trials using (study_id, hardware_class)
    group by classes.study_id, classes.hardware_class
),

shares as (
    select
        study_id,
        hardware_class,
        sum(assigned) as assigned,
        sum(measured) as measured,
        sum(missing) as missing,
        sum(unexplained) as unexplained
    from per_class
    group by grouping sets ((study_id), (study_id, hardware_class))
),

-- latencies sampled while something else kept the trial's threads off the CPUs in every window (0.8 is CALM_SHARE of trialhouse.profiling.latency)
disturbance as (
    select
        classes.study_id,
        classes.hardware_class,
        count(trials.trial_id) as assigned,
        count(shares.value) as measured,
        count(*) filter (where shares.value < 0.8) as disturbed
    from classes
    left join trials using (study_id, hardware_class)
    left join {{ ref('stg_profiles') }} as shares
        on trials.trial_id = shares.unit_id and shares.unit_kind = 'trial' and shares.metric = 'latency_cpu_share'
    group by classes.study_id, classes.hardware_class
),

-- Pearson's chi-squared of the table (level x measured or not): losses must not depend on the arm
per_level as (
    select study_id, factor, level, count(*) as assigned, count(*) filter (where is_measured) as measured
    from levels
    group by study_id, factor, level
),

expected as (
    select
        *,
        sum(measured) over study / sum(assigned) over study as measured_share
    from per_level
    window study as (partition by study_id, factor)
),

sample_ratio as (
    select
        study_id,
        factor,
        sum(assigned) as assigned,
        sum(measured) as measured,
        count(*) - 1 as degrees_of_freedom,
        -- both terms over the same deviation; with nothing or everything lost there is nothing to compare
        sum(
            case
                when measured_share > 0 and measured_share < 1
                    then pow(measured - assigned * measured_share, 2) / (assigned * measured_share * (1 - measured_share))
                else 0
            end
        ) as chi_squared
    from expected
    group by study_id, factor
),

-- every level of a treatment in every class, also where the two never met
overlap as (
    select
        arms.study_id,
        classes.hardware_class,
        arms.factor,
        arms.level,
        count(levels.trial_id) as assigned,
        count(*) filter (where levels.is_measured) as measured
    from (select distinct study_id, factor, level from levels where is_treatment) as arms
    join classes on arms.study_id = classes.study_id and (arms.factor != 'hardware_class' or arms.level = classes.hardware_class)
    left join levels
        on arms.study_id = levels.study_id
        and arms.factor = levels.factor
        and arms.level = levels.level
        and classes.hardware_class = levels.hardware_class
    group by arms.study_id, classes.hardware_class, arms.factor, arms.level
),

-- in a ladder (one factor at a time) the rungs of a factor are compared where all others are at their references
off_reference as (
    select study_id, trial_id, factor from levels where is_off_reference
),

-- other factors within the arms of a treatment: numbers as they are, categories as one 0/1 column per level
compared as (
    select
        arms.study_id,
        arms.factor,
        arms.level,
        others.factor as compared_factor,
        case when others.is_number then '' else categories.level end as category,
        case when others.is_number then others.value else (others.level = categories.level)::double end as x
    from levels as arms
    join levels as others
        on arms.study_id = others.study_id and arms.trial_id = others.trial_id and arms.factor != others.factor
    left join (select distinct study_id, factor, level from levels where is_measured and is_applicable and not is_number) as categories
        on others.study_id = categories.study_id and others.factor = categories.factor
    where arms.is_treatment and arms.is_measured and arms.is_applicable and others.is_applicable
        and not exists (
            select 1 from off_reference
            where off_reference.study_id = arms.study_id
                and off_reference.trial_id = arms.trial_id
                and off_reference.factor != arms.factor
        )
),

arm_sums as (
    select study_id, factor, level, compared_factor, category, count(*) as n, sum(x) as sum_x, sum(x * x) as sum_xx
    from compared
    group by study_id, factor, level, compared_factor, category
),

arm_moments as (
    select
        *,
        sum(n) over pair - n as n_rest,
        sum_x / n as mean,
        (sum(sum_x) over pair - sum_x) / nullif(n_rest, 0) as mean_rest,
        greatest(sum_xx / n - pow(mean, 2), 0) as variance,
        greatest((sum(sum_xx) over pair - sum_xx) / nullif(n_rest, 0) - pow(mean_rest, 2), 0) as variance_rest
    from arm_sums
    window pair as (partition by study_id, factor, compared_factor, category)
),

balance as (
    select
        study_id,
        factor,
        level,
        compared_factor,
        n as measured,
        case
            when abs(mean - mean_rest) < 1e-12 then 0
            else abs(mean - mean_rest) / nullif(sqrt((variance + variance_rest) / 2), 0)
        end as difference,
        -- no spread within the arms and yet a difference: further apart than any number says
        coalesce(difference, 'infinity'::double) as standardised_difference,
        sqrt(1 / n + 1 / n_rest) as standard_error
    from arm_moments
    where n_rest > 0
    qualify row_number() over (
        partition by study_id, factor, level, compared_factor
        order by standardised_difference desc, category
    ) = 1
),

checks as (
    select
        study_id,
        'class_coverage' as check_name,
        hardware_class,
        assigned,
        measured,
        measured::double as value
    from per_class

    union all by name

    select
        study_id,
        case when hardware_class is null then 'missing_share' else 'class_missing_share' end as check_name,
        hardware_class,
        assigned,
        measured,
        coalesce(missing / nullif(assigned, 0), 1) as value
    from shares

    union all by name

    select
        study_id,
        case when hardware_class is null then 'unexplained_failure_share' else 'class_unexplained_failure_share' end as check_name,
        hardware_class,
        assigned,
        measured,
        coalesce(unexplained / nullif(assigned, 0), 0) as value
    from shares

    union all by name

    select
        study_id,
        'disturbed_latency_share' as check_name,
        hardware_class,
        assigned,
        measured,
        coalesce(disturbed / nullif(measured, 0), 0) as value
    from disturbance

    union all by name

    select study_id, 'sample_ratio' as check_name, factor, assigned, measured, chi_squared as value, degrees_of_freedom
    from sample_ratio

    union all by name

    select study_id, 'overlap' as check_name, hardware_class, factor, level, assigned, measured, measured::double as value
    from overlap

    union all by name

    select study_id, 'balance' as check_name, factor, level, compared_factor, measured, standardised_difference as value, standard_error
    from balance
)

select
    checks.study_id,
    studies.study_name,
    concat_ws(
        '|',
        checks.check_name,
        checks.hardware_class,
        checks.factor || '=' || coalesce(checks.level, '*'),
        checks.compared_factor
    ) as check_id,
    checks.check_name,
    checks.hardware_class,
    checks.factor,
    checks.level,
    checks.compared_factor,
    checks.assigned::bigint as assigned,
    checks.measured::bigint as measured,
    checks.value,
    checks.degrees_of_freedom::integer as degrees_of_freedom,
    checks.standard_error
from checks
join {{ ref('dim_studies') }} as studies using (study_id)
