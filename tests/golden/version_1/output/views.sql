-- Views over the tables, for DuckDB: duckdb -init views.sql

CREATE OR REPLACE VIEW clips AS
SELECT clip_id, uri, version, model_id, size_bytes, duration_s, sample_rate_hz, channels, content_start_s, content_end_s, peak, n_segments, damage, extra, processed_at, run_id
FROM read_parquet('/archive/output/clips/**/*.parquet', union_by_name=true);

CREATE OR REPLACE VIEW tags AS
SELECT clip_id, uri, version, model_id, rank, tag, mid, score
FROM read_parquet('/archive/output/tags/**/*.parquet', union_by_name=true);

CREATE OR REPLACE VIEW failures AS
SELECT clip_id, uri, version, model_id, stage, reason, detail, final, attempted_at, run_id
FROM read_parquet('/archive/output/failures/**/*.parquet', union_by_name=true);

-- of each recording and model the version that was tagged last
CREATE OR REPLACE VIEW current_clips AS
SELECT * FROM clips
QUALIFY row_number() OVER (
    PARTITION BY uri, model_id ORDER BY processed_at DESC, clip_id) = 1;

CREATE OR REPLACE VIEW current_tags AS
SELECT tags.* FROM tags SEMI JOIN current_clips USING (clip_id, model_id);

-- one row per current clip; tag is NULL where no tag reached the threshold
CREATE OR REPLACE VIEW top_tags AS
SELECT c.clip_id, c.uri, c.model_id, t.tag, t.mid, t.score
FROM current_clips c
LEFT JOIN tags t ON t.clip_id = c.clip_id AND t.model_id = c.model_id AND t.rank = 1;

-- the last failure of each recording, unless it, or a later version of it, was tagged since
CREATE OR REPLACE VIEW open_failures AS
SELECT * FROM failures f
WHERE NOT EXISTS (
    FROM clips c
    WHERE c.model_id = f.model_id AND c.uri = f.uri
    AND (c.clip_id = f.clip_id OR c.processed_at >= f.attempted_at))
QUALIFY row_number() OVER (
    PARTITION BY uri, model_id ORDER BY attempted_at DESC, clip_id) = 1;
