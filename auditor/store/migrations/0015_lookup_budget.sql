-- Under a budget, a sweep enrols everything first and then chooses what it looks up.

alter table enrolment add column choice smallint not null default 0;    -- 0 left, 1 to be looked up, 2 being so or done
