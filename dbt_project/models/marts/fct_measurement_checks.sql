-- what each class and check is about, so that one without data still has a row that says why
with classes as (
    select study_id, study_name, unnest(spec ->> '$.hardware_classes[*]') as hardware_class from {{ ref('dim_studies') }}
),

trials as (
    select * from {{ ref('fct_trials') }} where status = 'ok'
),

sentinels as (
    select
        study_id,
        hardware_class,
        host,
        slot_order::double as place,
        case when latency_ms > 0 then ln(latency_ms) end as log_latency,
        case when peak_memory_bytes > 0 then ln(peak_memory_bytes) end as log_memory,
        -- seconds since the class's first sentinel: small numbers lose no digits when they are squared
        epoch(started_at) - min(epoch(started_at)) over (partition by study_id, hardware_class) as elapsed_s
    from trials
    where is_sentinel and latency_ms > 0
),

lines as (
    select
        study_id,
        hardware_class,
        count(*) as trials,
        avg(elapsed_s) as mean_elapsed_s,
        avg(log_latency) as mean_log_latency,
        max(elapsed_s) as span_s,
        regr_sxx(log_latency, elapsed_s) as spread,
        regr_slope(log_latency, elapsed_s) as slope,
        stddev_samp(log_latency) as latency_deviation,
        stddev_samp(log_memory) as memory_deviation,
        case when stddev_samp(log_latency) > 0 and stddev_samp(place) > 0 then pow(corr(log_latency, place), 2) end as place_share,
        var_pop(log_latency) as variance,
        count(distinct host) as hosts
    from sentinels
    group by study_id, hardware_class
),

-- HC3 (MacKinnon & White 1985) for a line: each residual over what its own point leaves of it
drift as (
    select
        study_id,
        hardware_class,
        sqrt(sum(pow((elapsed_s - mean_elapsed_s) * (log_latency - mean_log_latency - slope * (elapsed_s - mean_elapsed_s)) / free, 2)))
        / any_value(spread) as standard_error
    from (
        select sentinels.*, lines.*, 1 - 1 / trials - pow(elapsed_s - mean_elapsed_s, 2) / spread as free
        from sentinels
        join lines using (study_id, hardware_class)
        where trials >= 4 and spread > 0
    )
    where free > 1e-8
    group by study_id, hardware_class
),

hosts as (
    select study_id, hardware_class, sum(n * pow(mean - mean_log_latency, 2)) / any_value(lines.trials * variance) as host_share
    from (select study_id, hardware_class, host, count(*) as n, avg(log_latency) as mean from sentinels group by all)
    join lines using (study_id, hardware_class)
    where hosts > 1 and variance > 0
    group by study_id, hardware_class
),

served as (
    select
        study_id,
        hardware_class,
        count(*) as trials,
        count(*) filter (where abs(accuracy_as_served - weights_accuracy) > 1e-9) as differing,
        max(abs(accuracy_as_served - weights_accuracy)) as difference
    from trials
    where accuracy_as_served is not null and weights_accuracy is not null
    group by study_id, hardware_class
),

-- a trial's calls that began while the sampler was looking, against its calls that began while it was not
overhead as (
    select
        trials.study_id,
        trials.hardware_class,
        count(*) as trials,
        avg(ln(looking.value / resting.value)) as log_ratio,
        stddev_samp(ln(looking.value / resting.value)) / sqrt(count(*)) as standard_error
    from trials
    join {{ ref('fct_profiles') }} as looking
        on trials.trial_id = looking.unit_id and looking.unit_kind = 'trial' and looking.metric = 'sampled_latency_ms' and looking.value > 0
    join {{ ref('fct_profiles') }} as resting
        on trials.trial_id = resting.unit_id and resting.unit_kind = 'trial' and resting.metric = 'unsampled_latency_ms' and resting.value > 0
    group by trials.study_id, trials.hardware_class
),

checks as (
    select
        study_id,
        hardware_class,
        'repeatability' as check_name,
        'latency_ms' as metric,
        trials,
        latency_deviation as value,
        trials - 1 as degrees_of_freedom
    from lines

    union all by name

    select study_id, hardware_class, 'repeatability' as check_name, 'peak_memory_bytes' as metric, trials, memory_deviation as value,
        trials - 1 as degrees_of_freedom
    from lines

    union all by name

    select study_id, hardware_class, 'drift' as check_name, 'latency_ms' as metric, trials, slope * span_s as value,
        standard_error * span_s as standard_error, trials - 2 as degrees_of_freedom
    from lines
    join drift using (study_id, hardware_class)

    union all by name

    select study_id, hardware_class, 'order_share' as check_name, 'latency_ms' as metric, trials, place_share as value
    from lines

    union all by name

    select study_id, hardware_class, 'host_share' as check_name, 'latency_ms' as metric, trials, host_share as value
    from lines
    join hosts using (study_id, hardware_class)

    union all by name

    select study_id, hardware_class, 'accuracy_agreement' as check_name, 'accuracy' as metric, trials, differing, difference as value
    from served

    union all by name

    select study_id, hardware_class, 'sampling_overhead' as check_name, 'latency_ms' as metric, trials, log_ratio as value, standard_error,
        trials - 1 as degrees_of_freedom
    from overhead
),

wanted as (
    select *
    from classes
    cross join (
        values
        ('repeatability', 'latency_ms', 'fewer than two sentinel trials finished'),
        ('repeatability', 'peak_memory_bytes', 'fewer than two sentinel trials finished, or memory is not told'),
        ('drift', 'latency_ms', 'fewer than four sentinel trials finished'),
        ('order_share', 'latency_ms', 'fewer than two sentinel trials finished'),
        ('host_share', 'latency_ms', 'sentinel trials ran on one host, or on none'),
        ('accuracy_agreement', 'accuracy', 'no trial evaluated its weights'),
        ('sampling_overhead', 'latency_ms', 'no trial has calls both with and without the sampler')
    ) as checks (check_name, metric, reason)
)

select
    wanted.study_id,
    wanted.study_name,
    concat_ws('|', wanted.check_name, wanted.metric, wanted.hardware_class) as check_id,
    wanted.check_name,
    wanted.metric,
    wanted.hardware_class,
    coalesce(checks.trials, 0)::bigint as trials,
    checks.differing::bigint as differing,
    {{ finite('checks.value') }} as value,
    {{ finite('checks.standard_error') }} as standard_error,
    checks.degrees_of_freedom::integer as degrees_of_freedom,
    case when checks.value is null then wanted.reason end as reason
from wanted
left join checks using (study_id, hardware_class, check_name, metric)
