with versions as (
    select *, spec ->> '$.workload.name' as workload from {{ ref('stg_study_versions') }}
),

-- attempts at trials or weights of any version of the name; studies share trials, so they may be older than the study
first_attempts as (
    select study_name, min(first_started_at) as first_attempt_at
    from (
        select study_id, trial_id as unit_id from {{ ref('stg_assignments') }}
        union all
        select study_id, weights_id from {{ ref('stg_assignments') }}
    )
    join versions using (study_id)
    join {{ ref('stg_attempts') }} using (unit_id)
    group by study_name
),

questions as (
    select
        versions.*,
        first_attempts.first_attempt_at,
        min(registered_at) over (partition by study_name) as first_registered_at,
        min(registered_at) over (partition by study_name, estimands_id) as estimands_registered_at
    from versions
    left join first_attempts using (study_name)
)

select
    study_id,
    study_name,
    spec_id,
    estimands_id,
    title,
    question,
    workload,
    trials,
    spec,
    graph,
    code_version,
    registered_at,
    first_attempt_at,
    row_number() over (partition by study_name order by last_registered_at desc, study_id) = 1 as is_current,
    -- where the name's trials existed before its first registration, that one is the reference
    coalesce(estimands_registered_at > greatest(first_attempt_at, first_registered_at), false) as is_changed_after_first_trial,
    -- recorded trials ran before anybody asked; their attempts are the import
    workload is distinct from 'recorded' and coalesce(first_registered_at <= first_attempt_at, true) as is_registered_before_first_trial
from questions
