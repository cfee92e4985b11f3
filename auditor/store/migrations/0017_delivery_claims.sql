-- The job that delivers it now: several jobs can name one alert. It counts while that job's worker is heard of.
alter table delivery add column claimed_by bigint;
