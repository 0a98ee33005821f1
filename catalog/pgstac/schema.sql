-- What stacpin adds to pgstac: which versions are indexed, their records, and how a revision and a filter are read.
-- Everything here can be run again; it is, after each migration of pgstac and where this file changed. The schema pin
-- is there already.

-- One row. seq numbers the versions of all datasets in the order in which they were indexed; state grows with every
-- change that a reader could see; checked is when a follower last compared the index with the catalog.
create table if not exists pin.state (
    one boolean primary key default true check (one),
    catalog text not null,
    form int not null,
    seq int not null default 0,
    state bigint not null default 0,
    checked timestamptz
);

-- behind is since when a version is known that is not indexed.
create table if not exists pin.datasets (
    id text primary key,
    indexed int not null default 0,
    head int not null default 0,
    behind timestamptz
);

-- seq is null for a version that had expired before it was indexed: it has no items here.
create table if not exists pin.versions (
    dataset text not null references pin.datasets (id) on delete cascade,
    number int not null,
    seq int unique,
    live boolean not null default true,
    primary key (dataset, number)
);

-- Drawn by chance, so that a version that is indexed again is never taken for the one that was there before.
alter table pin.versions add column if not exists mark bigint not null default (random() * 9e15)::bigint;

create index if not exists versions_seq on pin.versions (dataset, seq desc);

-- The catalog's records as they are in the store; null where one is gone (its dataset was dropped from the index).
create table if not exists pin.records (
    path text collate "C" primary key,
    data bytea,
    state bigint not null
);
create index if not exists records_state on pin.records (state);

-- Whether a revision is valid at k. Inlined, so that the index below answers it.
create or replace function pin.at(p jsonb, k int) returns boolean
language sql immutable parallel safe
as 'select (p->''f'')::int4 <= k and (p->''u'')::int4 > k';

-- Whether datasets are, at places in the sequence, the versions that a search took them for, by their marks:
-- [[7, [["a", 3, 90211], …]], …]. Raises if not: whoever read the sequence before the index was built anew, or before the
-- database lost its last transactions in a crash or a failover, was else given other items, or none.
create or replace function pin.placed(wanted jsonb) returns boolean
language plpgsql stable
as $$
begin
    if exists (
        select from jsonb_array_elements(wanted) p, jsonb_array_elements(p->1) w
        where not exists (
            select from (
                select v.number, v.mark from pin.versions v
                where v.dataset = w->>0 and v.seq <= (p->>0)::int order by v.seq desc limit 1
            ) found
            where number = (w->>1)::int and mark = (w->>2)::bigint
        )
    ) then
        raise exception 'the index is not what it was' using errcode = 'PIN01';
    end if;
    return true;
end
$$;

-- A page of pgstac's search, and after it the proof that versions stood where it took them to be. After it, in a statement
-- of its own, which sees what was committed meanwhile: a condition of the search would not be looked at where the partition
-- of a dataset is gone, and what is of the same snapshot does not notice that it went. A version that is there under its
-- mark has been there since the mark was read.
create or replace function pin.search(body jsonb, places jsonb) returns jsonb
language plpgsql volatile
as $$
declare
    found jsonb;
begin
    found := pgstac.search(body);
    perform pin.placed(places);
    return found;
end
$$;

-- How many items a search matches, page or no page; proven in the same way.
create or replace function pin.matched(body jsonb, places jsonb) returns bigint
language plpgsql volatile
as $$
declare
    found bigint;
begin
    execute format('select count(*) from pgstac.items where %s', pgstac.stac_search_to_where(body)) into found;
    perform pin.placed(places);
    return found;
end
$$;

create index if not exists pin_bt
    on pgstac.items (datetime desc, ((private->'u')::int4), ((private->'f')::int4));
create index if not exists pin_item on pgstac.items (split_part(id, '!', 1));

-- A value read as a number: also a text that is one, and the first member of an array; anything else is null.
create or replace function pin.number(j jsonb) returns float8
language plpgsql immutable strict parallel safe
as $$
declare
    t text;
begin
    if jsonb_typeof(j) = 'array' then
        j := j->0;
    end if;
    if jsonb_typeof(j) = 'number' then
        return j::float8;
    end if;
    if jsonb_typeof(j) is distinct from 'string' then
        return null;
    end if;
    t := j #>> '{}';
    if length(t) > 400 or t !~ '^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$' then
        return null;
    end if;
    begin
        return t::float8;
    exception when numeric_value_out_of_range then
        return case when t ~* 'e-' then 0 when t ~ '^\s*-' then '-infinity'::float8 else 'infinity'::float8 end;
    end;
end
$$;

-- A value read as a time: RFC 3339, or a day's first instant. Finer than a microsecond is cut; second 60 is the next.
create or replace function pin.moment(j jsonb) returns timestamptz
language plpgsql immutable strict parallel safe
as $$
declare
    t text := case when jsonb_typeof(j) = 'string' then j #>> '{}' end;
    m text[];
    found timestamptz;
begin
    if t is null or length(t) > 64 then
        return null;
    end if;
    m := regexp_match(t, '^(\d{4})-(\d\d)-(\d\d)$');
    if m is not null then
        return make_timestamptz(m[1]::int, m[2]::int, m[3]::int, 0, 0, 0, 'UTC');
    end if;
    m := regexp_match(
        t, '^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,20}))?(?:[Zz]|([+-])(\d\d):(\d\d))$'
    );
    if m is null or m[4]::int > 23 or m[6]::int > 60 or m[9]::int > 23 or m[10]::int > 59 then
        return null;
    end if;
    found := make_timestamptz(m[1]::int, m[2]::int, m[3]::int, m[4]::int, m[5]::int, 0, 'UTC')
        + make_interval(secs => m[6]::int) + make_interval(secs => rpad(left(coalesce(m[7], '0'), 6), 6, '0')::int / 1e6)
        - case m[8] when '-' then -1 else 1 end
            * make_interval(hours => coalesce(m[9]::int, 0), mins => coalesce(m[10]::int, 0));
    if found < '0001-01-01T00:00:00Z' or found >= '10000-01-01T00:00:00Z' then
        return null;
    end if;
    return found;
exception when datetime_field_overflow or invalid_datetime_format then
    return null;
end
$$;

-- A value read as a list of texts; a single value is a list of one, and a null in it equals another null.
create or replace function pin.texts(j jsonb) returns text[]
language sql immutable strict parallel safe
as $$
    select case jsonb_typeof(j)
        when 'null' then null
        when 'array' then array(
            select coalesce(v #>> '{}', e'\x01null') from jsonb_array_elements(j) with ordinality as e (v, n) order by n
        )
        else array[j #>> '{}']
    end
$$;

-- The value at a path of names. #> also takes a number in it for a place in an array.
create or replace function pin.member(j jsonb, path text[]) returns jsonb
language plpgsql immutable strict parallel safe
as $$
declare
    name text;
begin
    foreach name in array path loop
        if jsonb_typeof(j) is distinct from 'object' then
            return null;
        end if;
        j := j -> name;
    end loop;
    return j;
end
$$;

-- Arithmetic; what has no finite result is null, and what is smaller than any number is 0.
create or replace function pin.calc(op text, a float8, b float8) returns float8
language plpgsql immutable strict parallel safe
as $$
declare
    r float8;
begin
    r := case op when '+' then a + b when '-' then a - b when '*' then a * b else a / b end;
    return case when r in ('infinity', '-infinity', 'nan') then null else r end;
exception
    when division_by_zero then
        return null;
    when numeric_value_out_of_range then
        return case
            when op = '*' and ln(abs(a)) + ln(abs(b)) < 0 then 0
            when op = '/' and ln(abs(a)) < ln(abs(b)) then 0
        end;
end
$$;

-- What a search sorts a property by: numbers before texts, in a text that sorts so by its bytes. A double's bits sort
-- like the number once the sign is turned over, and all bits of a negative one (IEEE 754).
create or replace function pgstac.pin_order(j jsonb) returns text
language plpgsql immutable strict parallel safe
as $$
declare
    bits bigint;
begin
    case jsonb_typeof(j)
        when 'null' then
            return null;
        when 'number' then
            bits := ('x' || encode(float8send(j::float8), 'hex'))::bit(64)::bigint;
            bits := case when bits < 0 then ~bits else bits # ((1::bigint << 63)) end;
            return '0' || lpad(to_hex(bits), 16, '0');
        else
            return '1' || (j #>> '{}');
    end case;
end
$$;
insert into pgstac.queryable_wrappers (name) values ('pin_order') on conflict do nothing;
insert into pgstac.queryables (name, property_path, property_wrapper)
    select 'pin:id', '{pin:id}', 'to_text'
    where not exists (select from pgstac.queryables where name = 'pin:id');

-- Letters without regard to case or accents, by Unicode, whatever the database's own language is.
create or replace function pin.upper(t text) returns text
language sql immutable strict parallel safe
as 'select upper(t collate "und-x-icu") collate "C"';
create or replace function pin.lower(t text) returns text
language sql immutable strict parallel safe
as 'select lower(t collate "und-x-icu") collate "C"';
create or replace function pin.unaccent(t text) returns text
language sql immutable strict parallel safe
as $$ select regexp_replace(normalize(t, nfkd), '[@marks@]', '', 'g') $$;

-- The operators that the filters of catalog/pgstac/filters.py are written in. No user can name them: a user's filter is
-- translated, never passed on.
insert into pgstac.cql2_ops (op, template) values
    ('pin_at', 'pin.at(private,(%s)::int4)'),
    ('pin_ids', '(split_part(id,''!'',1) = ANY (to_text_array((%s)::jsonb)))'),
    ('pin_id', 'split_part(id,''!'',1)'),
    ('pin_collection', '((%s)::jsonb ->> collection)'),
    ('pin_start', 'datetime'),
    ('pin_end', 'end_datetime'),
    ('pin_collections', '(collection = ANY (to_text_array((%s)::jsonb)))'),
    ('pin_float', '(%s)::float8'),
    ('pin_text', '(content #>> string_to_array(%s,''.''))'),
    ('pin_number', 'pin.number(content #> string_to_array(%s,''.''))'),
    ('pin_moment', 'pin.moment(content #> string_to_array(%s,''.''))'),
    ('pin_texts', 'pin.texts(content #> string_to_array(%s,''.''))'),
    ('pin_member', 'pin.member(content,string_to_array(%s,''.''))'),
    ('pin_text_of', '(%s #>> ''{}'')'),
    ('pin_number_of', 'pin.number(%s)'),
    ('pin_moment_of', 'pin.moment(%s)'),
    ('pin_texts_of', 'pin.texts(%s)'),
    ('pin_list', 'pin.texts((%s)::jsonb)'),
    ('pin_text_number', 'pin.number(to_jsonb(%s))'),
    ('pin_text_moment', 'pin.moment(to_jsonb(%s))'),
    ('pin_number_text', '(to_jsonb(%s) #>> ''{}'')'),
    ('pin_no_moment', 'NULL::timestamptz'),
    ('pin_upper', 'pin.upper(%s)'),
    ('pin_lower', 'pin.lower(%s)'),
    ('pin_unaccent', 'pin.unaccent(%s)'),
    ('pin_like', '(%s LIKE %s)'),
    ('pin_plus', 'pin.calc(''+'',%s,%s)'),
    ('pin_minus', 'pin.calc(''-'',%s,%s)'),
    ('pin_times', 'pin.calc(''*'',%s,%s)'),
    ('pin_by', 'pin.calc(''/'',%s,%s)'),
    ('pin_true', 'TRUE'),
    ('pin_false', 'FALSE'),
    ('pin_a_equals', '(%s = %s)'),
    ('pin_a_contains', '(%s @> %s)'),
    ('pin_a_contained', '(%s <@ %s)'),
    ('pin_a_overlaps', '(%s && %s)'),
    ('pin_geom', 'ST_SetSRID(ST_GeomFromGeoJSON(%s),4326)'),
    ('pin_no_place', 'ST_IsEmpty(geometry)'),
    ('pin_s_contains', 'st_contains(geometry,%s)'),
    ('pin_s_crosses', 'st_crosses(geometry,%s)'),
    ('pin_s_disjoint', 'st_disjoint(geometry,%s)'),
    ('pin_s_equals', 'st_equals(geometry,%s)'),
    ('pin_s_intersects', 'st_intersects(geometry,%s)'),
    ('pin_s_overlaps', 'st_overlaps(geometry,%s)'),
    ('pin_s_touches', 'st_touches(geometry,%s)'),
    ('pin_s_within', 'st_within(geometry,%s)'),
    ('pin_null_if', '(CASE WHEN %s THEN NULL ELSE %s END)')
on conflict (op) do update set template = excluded.template;

grant usage on schema pin to pgstac_read, pgstac_ingest;
grant select on all tables in schema pin to pgstac_read;
grant select, insert, update, delete on all tables in schema pin to pgstac_ingest;

-- Whoever has the role pgstac_admin can index and bring all of this up to date.
do $$
declare
    made text;
begin
    for made in
        select 'schema pin' from pg_namespace where nspname = 'pin' and nspowner <> 'pgstac_admin'::regrole
        union all
        select format('table %s', oid::regclass) from pg_class
        where relnamespace = 'pin'::regnamespace and relkind = 'r' and relowner <> 'pgstac_admin'::regrole
        union all
        select format('function %s', oid::regprocedure) from pg_proc
        where (pronamespace = 'pin'::regnamespace or pronamespace = 'pgstac'::regnamespace and proname like 'pin\_%')
            and proowner <> 'pgstac_admin'::regrole
    loop
        execute format('alter %s owner to pgstac_admin', made);
    end loop;
end
$$;
