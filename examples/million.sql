-- A million orders in one transaction, an index over them, and questions to both.
drop table if exists orders;
create table orders(
    id integer primary key,
    customer integer not null,
    cents integer not null,
    placed text not null
);

insert into orders
with recursive n(i) as (select 1 union all select i + 1 from n limit 1000000)
select i, i * 7919 % 10007, i * 31 % 99991, date('2020-01-01', (i % 2000) || ' days') from n;

create index orders_by_customer on orders(customer, placed);

select count(*) as orders, count(distinct customer) as customers, sum(cents) as cents from orders;

select customer, count(*) as orders, sum(cents) as cents
from orders group by customer order by cents desc, customer limit 5;

select strftime('%Y', placed) as year, count(*) as orders, sum(cents) as cents
from orders group by year order by year;

pragma integrity_check;
