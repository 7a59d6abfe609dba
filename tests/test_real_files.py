"""Files as public collections hand them out, rebuilt in form and replayed with no more than a name and an arrival column.

Each form was looked up in a file of its collection (named in its docstring with what is peculiar about it); the values
here are invented. Where a name and a column are not enough, mblab says so in one sentence, and what that sentence says,
followed to the letter, gives the right rows: `said` lists what one had to say besides.
"""

import ast
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mblab
from mblab import Lab, replay
from mblab.sources import SourceWarning
from mblab.tables.values import as_json, json_text

BOM = "\ufeff"
N = 40  # rows of most forms


class Form(NamedTuple):
    """One file of a collection.

    Attributes:
        file: Its name there.
        arrival: The column that tells when a row arrived.
        write: Writes it to a path and returns when its rows happened, in the file's order.
        dtypes: Dtypes of some columns once it is replayed.
        keeps: Values of the first row, to the digit.
        said: What the refusals ask for, in order; nothing where a name and a column are enough.
        names: Names of the columns of a file without a header, which only a person knows.
    """

    file: str
    arrival: str
    write: Callable[[Path], pd.DatetimeIndex]
    dtypes: dict[str, str]
    keeps: dict[str, object]
    said: tuple[str, ...]
    names: tuple[str, ...]


FORMS: dict[str, Form] = {}


def form(file, arrival, *, dtypes=(), keeps=(), said=(), names=()):
    """Enter a function that returns a form's content and times as one of the forms."""

    def enter(make):
        def write(path):
            content, times = make()
            if isinstance(content, str):
                content = content.encode()
            if isinstance(content, bytes):
                path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
            else:
                content(path)
            return times

        FORMS[make.__name__] = Form(file, arrival, write, dict(dtypes), dict(keeps), tuple(said), tuple(names))
        return make

    return enter


def csv(header, rows, *, end="\n", last=True):
    """Return lines as text, with the line end of the collection."""
    text = end.join([*([] if header is None else [header]), *rows])
    return text + end if last else text


def times(start, every, n=N):
    """Return n times from a start on."""
    return pd.date_range(start, periods=n, freq=every)


# -- open data, CSV ---------------------------------------------------------------------------------------------------


@form(
    "yellow_tripdata_2019-01.csv",
    "tpep_pickup_datetime",
    dtypes={"tpep_dropoff_datetime": "datetime64[s]", "trip_distance": "float64", "store_and_fwd_flag": "str"},
    keeps={"trip_distance": 0.5, "PULocationID": 100},
    said=["sort=True"],
)
def nyc_taxi():
    """NYC TLC trip records: not in order of pickup, distances without a leading zero, a last column that is empty."""
    begun = times("2019-01-01 00:21:28", "37s")
    order = [*range(0, N, 2), *range(1, N, 2)]
    rows = [
        f"{1 + i % 2},{begun[i]},{begun[i] + pd.Timedelta('8min')},1,.{5 + i % 5}0,1,N,{100 + i},{200 - i},1,6.5,0.5,0.5,"
        f"1.65,0,0.3,{9 + i / 100:.2f},"
        for i in order
    ]
    header = (
        "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,RatecodeID,"
        "store_and_fwd_flag,PULocationID,DOLocationID,payment_type,fare_amount,extra,mta_tax,tip_amount,tolls_amount,"
        "improvement_surcharge,total_amount,congestion_surcharge"
    )
    return csv(header, rows), begun[order]


@form(
    "all_month.csv",
    "time",
    dtypes={"updated": "datetime64[ns, UTC]", "nst": "float64", "place": "str", "id": "str"},
    keeps={"place": "54km S of Ash Hill, Alaska", "id": "ak12293600", "mag": 1.5},
    said=["sort=True"],
)
def usgs_earthquakes():
    """USGS earthquake feed: newest first, times with Z and milliseconds, commas inside quoted places, empty numbers."""
    happened = times("2026-01-05T18:45:11.820", "-71s")
    rows = [
        f"{t.isoformat(timespec='milliseconds')}Z,59.{9988 - i},-152.7191,{100 - i},{1.5 + i / 10:.1f},ml,"
        f"{'' if i % 3 else 56},,,0.54,ak,ak{12293600 + i},{(t + pd.Timedelta('9min')).isoformat(timespec='milliseconds')}Z,"
        f'"54km S of Ash Hill, Alaska",earthquake'
        for i, t in enumerate(happened)
    ]
    return csv("time,latitude,longitude,depth,mag,magType,nst,gap,dmin,rms,net,id,updated,place,type", rows), happened


@form(
    "201901-citibike-tripdata.csv",
    "starttime",
    dtypes={"stoptime": "datetime64[ns]", "tripduration": "int64", "birth year": "float64"},
    keeps={"start station name": 'St. Mark\'s Pl "East", 2 Ave', "bikeid": 29612},
)
def citi_bike_2019():
    """Citi Bike: names with blanks, all texts and times in quotes, four digits of a second, nulls as an empty value."""
    begun = times("2019-01-01 03:09:09.7110", "91.0060s")
    rows = [
        f'{201 + i},"{t:%Y-%m-%d %H:%M:%S.%f}'[:-2] + f'","{t + pd.Timedelta("3min"):%Y-%m-%d %H:%M:%S.%f}'[:-2] + '",'
        f'3183,"St. Mark\'s Pl ""East"", 2 Ave",40.7162469,-74.0334588,{29612 + i},"Subscriber",{1993 if i % 4 else ""},1'
        for i, t in enumerate(begun)
    ]
    header = (
        '"tripduration","starttime","stoptime","start station id","start station name","start station latitude",'
        '"start station longitude","bikeid","usertype","birth year","gender"'
    )
    return csv(header, rows), begun


@form(
    "202402-citibike-tripdata.csv",
    "started_at",
    dtypes={"ride_id": "str", "start_station_id": "str", "end_lat": "float64"},
    keeps={"ride_id": "46E8512345678900", "start_station_id": "5470.10"},
)
def citi_bike_2024():
    """Citi Bike since 2021: ids that look like numbers in scientific notation, station ids with a point or letters."""
    begun = times("2024-02-01 00:00:00.125", "53s")
    rows = [
        f"46E85123456789{i:02d},electric_bike,{t.isoformat(sep=' ', timespec='milliseconds')},"
        f"{(t + pd.Timedelta('5min')).isoformat(sep=' ', timespec='milliseconds')},{'JC115' if i == 7 else '5470.10'},"
        f"40.7,-74.0,{'' if i % 5 == 1 else 40.71},member"
        for i, t in enumerate(begun)
    ]
    return csv(
        "ride_id,rideable_type,started_at,ended_at,start_station_id,start_lat,start_lng,end_lat,member_casual", rows
    ), begun


@form(
    "Crimes_-_2001_to_Present.csv",
    "Date",
    dtypes={"IUCR": "str", "Arrest": "bool", "Ward": "float64"},
    keeps={"IUCR": "0486", "Case Number": "HM664618", "Location": "(41.8, -87.7)"},
    said=["format='%m/%d/%Y %I:%M:%S %p'"],
)
def chicago_crimes():
    """City of Chicago, as all Socrata portals: month first, AM and PM, codes with leading zeros, brackets in quotes."""
    happened = times("2026-10-17 11:30:00", "47min")
    rows = [
        f"{5059066 + i},HM{664618 + i},{t:%m/%d/%Y %I:%M:%S %p},045XX W VAN BUREN ST,0486,BATTERY,{str(i % 2 > 0).lower()},"
        f'{"" if i % 6 == 5 else 24}.0,"(41.8, -87.7)"'.replace(",.0,", ",,")
        for i, t in enumerate(happened)
    ]
    return csv("ID,Case Number,Date,Block,IUCR,Primary Type,Arrest,Ward,Location", rows), happened


@form(
    "turnstile_141004.txt",
    "DATE",
    dtypes={"ENTRIES": "str", "SCP": "str"},
    keeps={"ENTRIES": "0004800073", "SCP": "02-00-00"},
    said=["mblab.sources.csv(path)", "format='%m/%d/%Y'"],
)
def mta_turnstile():
    """MTA turnstiles: the last name of the header is padded with blanks, counters with leading zeros, day and time
    apart."""
    seen = times("2014-09-27", "4h")
    rows = [
        f"A002,R051,02-00-00,LEXINGTON AVE,456NQR,BMT,{t:%m/%d/%Y},{t:%H:%M:%S},REGULAR,{4800073 + i:010d},{1629137 + i:010d}"
        for i, t in enumerate(seen)
    ]
    header = "C/A,UNIT,SCP,STATION,LINENAME,DIVISION,DATE,TIME,DESC,ENTRIES,EXITS" + " " * 60
    return csv(header, rows, end="\r\n"), seen.normalize()


@form(
    "data.csv",
    "InvoiceDate",
    dtypes={"CustomerID": "float64", "StockCode": "str", "InvoiceNo": "str"},
    keeps={"StockCode": "85123A", "Description": "LUNCH BOX £1"},
    said=["encoding=", "format='%m/%d/%Y %H:%M'"],
)
def online_retail():
    """UCI Online Retail (Kaggle): Latin-1, dates without leading zeros that only the 13th of a month tells apart."""
    bought = times("2010-12-09 8:26", "6h")
    rows = [
        f"{'C' if i == 3 else ''}{536365 + i},85123A,LUNCH BOX £1,6,{t.month}/{t.day}/{t.year} {t.hour}:{t:%M},2.55,"
        f"{'' if i % 4 == 3 else 17850},United Kingdom"
        for i, t in enumerate(bought)
    ]
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    return csv(header, rows, end="\r\n").encode("latin-1"), bought


@form(
    "stop_times.txt",
    "departure_time",
    dtypes={"trip_id": "str", "stop_sequence": "int64", "stop_headsign": "str"},
    keeps={"trip_id": "00123", "stop_headsign": "São João"},
    said=["mblab.sources.csv(path)", "pd.to_timedelta("],
)
def gtfs_stop_times():
    """GTFS: a byte order mark, CRLF, times of a service day that go on past 24:00:00, ids with leading zeros."""
    zero = pd.Timestamp(0)
    due = zero + pd.to_timedelta(np.arange(N) * 20 * 60 + 23 * 3600 // 2, unit="s")
    said = [f"{t // 3600:02d}:{t // 60 % 60:02d}:{t % 60:02d}" for t in (due - zero).total_seconds().astype(int)]
    rows = [f"{123 + i:05d},{t},{t},{i % 7:03d},{i},São João,0," for i, t in enumerate(said)]
    header = "trip_id,arrival_time,departure_time,stop_id,stop_sequence,stop_headsign,pickup_type,shape_dist_traveled"
    return BOM + csv(header, rows, end="\r\n"), due


@form(
    "airline-passengers.csv",
    "Month",
    dtypes={"Passengers": "int64"},
    keeps={"Passengers": 112},
    said=["format='%Y-%m'"],
)
def airline_passengers():
    """jbrownlee/Datasets: months without a day, names and months in quotes, CRLF."""
    seen = times("1949-01-01", "MS")
    return csv('"Month","Passengers"', [f'"{t:%Y-%m}",{112 + i}' for i, t in enumerate(seen)], end="\r\n"), seen


@form(
    "stocks.csv",
    "date",
    dtypes={"symbol": "str", "price": "float64"},
    keeps={"symbol": "MSFT", "price": 39.81},
    said=["format='%b %d %Y'", "sort=True"],
)
def vega_stocks():
    """vega-datasets: months by name, one symbol after the other, so that time steps back once."""
    months = times("2000-01-01", "MS", N // 2)
    rows = [
        f"{symbol},{t:%b} {t.day} {t.year},{39.81 + i:.2f}" for symbol in ("MSFT", "AMZN") for i, t in enumerate(months)
    ]
    return csv("symbol,date,price", rows), months.append(months)


# -- weather and sensors, CSV -----------------------------------------------------------------------------------------


@form("nyc_taxi.csv", "timestamp", dtypes={"value": "float64"}, keeps={"value": 0.0819647355164001})
def nab():
    """Numenta Anomaly Benchmark: two columns, CRLF in some files, all digits of a float."""
    seen = times("2014-07-01", "30min")
    return csv("timestamp,value", [f"{t},{0.0819647355164 + i + 1e-16}" for i, t in enumerate(seen)], end="\r\n"), seen


@form("ETTh1.csv", "date", dtypes={"HUFL": "float64"}, keeps={"HUFL": 5.827000141143799})
def ett():
    """Electricity Transformer data: fifteen digits a value."""
    seen = times("2016-07-01", "h")
    rows = [f"{t},{5.827000141143799 + i},{2.009000062942505 - i},{30.5310001373291}" for i, t in enumerate(seen)]
    return csv("date,HUFL,HULL,OT", rows), seen


@form(
    "jena_climate_2009_2016.csv",
    "Date Time",
    dtypes={"p (mbar)": "float64"},
    keeps={"p (mbar)": 996.52, "wv (m/s)": -9999.0},
    said=["format='%d.%m.%Y %H:%M:%S'"],
)
def jena_climate():
    """Max Planck Institute Jena: day first with points, units in the names, -9999 for no value."""
    seen = times("2009-01-01 00:10:00", "10h")
    rows = [f"{t:%d.%m.%Y %H:%M:%S},{996.52 + i / 10:.2f},-8.02,-9999.00" for i, t in enumerate(seen)]
    return csv('"Date Time","p (mbar)","T (degC)","wv (m/s)"', rows), seen


@form(
    "household_power_consumption.txt",
    "Date",
    dtypes={"Global_active_power": "str", "Sub_metering_3": "object"},
    keeps={"Global_active_power": "4.216"},
    said=["sep=';'", "format='%d/%m/%Y'"],
)
def household_power():
    """UCI household power: semicolons, day and time apart, dates without leading zeros, and ? for null, which nobody
    can know: a column with one stays text."""
    seen = times("2006-12-30 17:24:00", "6h")
    rows = [
        f"{t.day}/{t.month}/{t.year};{t:%H:%M:%S};{'?;?' if i == 7 else f'{4.216 + i:.3f};0.418'};"
        for i, t in enumerate(seen)
    ]
    return csv("Date;Time;Global_active_power;Global_reactive_power;Sub_metering_3", rows), seen.normalize()


@form(
    "AirQualityUCI.csv",
    "Date",
    dtypes={"CO(GT)": "float64", "PT08.S1(CO)": "int64"},
    keeps={"CO(GT)": 2.6, "Time": "18.00.00"},
    said=["sep=';', decimal=','", "format='%d/%m/%Y'"],
)
def air_quality():
    """UCI Air Quality: semicolons, decimal commas, points in the clock, two columns without a name and nothing in
    them."""
    seen = times("2004-03-10 18:00", "5h")
    rows = [
        f"{t:%d/%m/%Y};{t:%H.%M.%S};{2.6 + i / 10:.1f}".replace(".", ",", 0) + f";{1360 + i};-200;;"
        for i, t in enumerate(seen)
    ]
    rows = [re.sub(r"(?<=;)(\d+)\.(\d)(?=;)", r"\1,\2", row) for row in rows]
    return csv("Date;Time;CO(GT);PT08.S1(CO);NMHC(GT);;", rows, end="\r\n"), seen.normalize()


@form(
    "produkt_zehn_min_tu_20200101_20201231_00003.txt",
    "MESS_DATUM",
    dtypes={"TT_10": "float64", "STATIONS_ID": "int64"},
    keeps={"TT_10": -1.2, "STATIONS_ID": 3},
    said=["sep=';'", "format='%Y%m%d%H%M'"],
)
def dwd():
    """Deutscher Wetterdienst: semicolons, values padded with blanks, times in twelve digits, a column of eor."""
    seen = times("2020-01-01", "10min")
    rows = [f"          3;{t:%Y%m%d%H%M};    3;  970.2;{-1.2 + i / 10:6.1f};eor" for i, t in enumerate(seen)]
    return csv("STATIONS_ID;MESS_DATUM;  QN;PP_10;TT_10;eor", rows, end="\r\n"), seen


@form(
    "2024.csv",
    "DATE",
    dtypes={"VALUE": "int64"},
    keeps={"ID": "USW00094728"},
    said=["names=[…]", "format='%Y%m%d'"],
    names=["ID", "DATE", "ELEMENT", "VALUE", "M_FLAG", "Q_FLAG", "S_FLAG", "OBS_TIME"],
)
def ghcn_by_year():
    """NOAA GHCN daily by year: no header, dates in eight digits, mostly empty flags."""
    seen = times("2024-01-01", "D")
    rows = [f"USW00094728,{t:%Y%m%d},TMAX,{56 + i},,,W,0800" for i, t in enumerate(seen)]
    return csv(None, rows), seen


@form(
    "08495099999.csv",
    "DATE",
    dtypes={"STATION": "str", "LATITUDE": "float64", "TMP": "str", "OC1": "str"},
    keeps={"STATION": "08495099999", "LATITUDE": 36.15, "TMP": "+0155,1", "NAME": "GIBRALTAR, GI"},
)
def noaa_global_hourly():
    """NOAA Global Hourly: every value in quotes, numbers too, commas inside, station ids with a leading zero, quoted
    empty values."""
    seen = times("2024-03-01T05:50:00", "10min")
    rows = [
        f'"08495099999","{t.isoformat()}","4","36.15","-5.349","4.6","GIBRALTAR, GI","FM-15","99999","V020",'
        f'"090,1,N,0082,1","+{155 + i:04d},1","{"0150,1" if i % 3 == 1 else ""}"'
        for i, t in enumerate(seen)
    ]
    header = (
        '"STATION","DATE","SOURCE","LATITUDE","LONGITUDE","ELEVATION","NAME","REPORT_TYPE","CALL_SIGN",'
        '"QUALITY_CONTROL","WND","TMP","OC1"'
    )
    return csv(header, rows), seen


@form(
    "location-2178-20230222.csv.gz",
    "datetime",
    dtypes={"value": "float64", "units": "str"},
    keeps={"units": "µg/m³", "location": "Del Norte-2178"},
)
def openaq():
    """OpenAQ archive: gzip, a time zone of -07:00 in each time, units in Unicode."""
    seen = times("2023-02-22T01:00:00", "h")
    rows = [
        f"2178,3919,Del Norte-2178,{t.isoformat()}-07:00,35.1353,-106.584702,pm10,µg/m³,{14.0 + i}"
        for i, t in enumerate(seen)
    ]
    return csv("location_id,sensors_id,location,datetime,lat,lon,parameter,units,value", rows), seen


@form(
    "states_2020-05-25-00.csv",
    "time",
    dtypes={"icao24": "str", "squawk": "str", "onground": "bool", "lastposupdate": "float64"},
    keeps={"icao24": "4e1234", "callsign": "DLH123  ", "squawk": "0123", "lastposupdate": 1590364799.583},
)
def opensky():
    """OpenSky states: many rows a second, hex addresses that look like numbers, call signs padded with blanks, squawks
    with leading zeros or none."""
    seen = pd.to_datetime(1590364800 + np.arange(N) // 4 * 10, unit="s")
    address = ["4e1234", "400612", "3c6444", "a00001"]
    rows = [
        f"{int(t.timestamp())},{address[i % 4]},{'' if i % 5 == 4 else 50.5},8.1,,90.0,{'DLH123  ' if i % 2 == 0 else ''},"
        f"{i % 3 == 0},False,{'' if i % 4 == 1 else f'{123 + i:04d}'},,{t.timestamp() - 0.417}"
        for i, t in enumerate(seen)
    ]
    return csv(
        "time,icao24,lat,lon,velocity,heading,callsign,onground,alert,squawk,baroaltitude,lastposupdate", rows
    ), seen


@form(
    "AIS_2024_01_01.csv",
    "BaseDateTime",
    dtypes={"MMSI": "int64", "Heading": "float64", "VesselName": "str"},
    keeps={"IMO": "IMO9876543", "MMSI": 367000001},
)
def marine_ais():
    """Marine Cadastre AIS: ISO times without a zone, columns that are mostly empty."""
    seen = times("2024-01-01T00:00:00", "11s")
    rows = [
        f"{367000001 + i},{t.isoformat()},29.7,-95.1,0.1,-120.4,511.0,{'' if i % 2 else 'TEST SHIP'},"
        f"{'' if i % 2 else 'IMO9876543'},,,,,,,,A"
        for i, t in enumerate(seen)
    ]
    header = (
        "MMSI,BaseDateTime,LAT,LON,SOG,COG,Heading,VesselName,IMO,CallSign,VesselType,Status,Length,Width,Draft,Cargo,"
        "TransceiverClass"
    )
    return csv(header, rows), seen


@form(
    "history.csv",
    "last_changed",
    dtypes={"state": "str"},
    keeps={"state": "13.249470", "entity_id": "sensor.voltmeter"},
)
def home_assistant():
    """Home Assistant history: numbers, unavailable and on in one column, milliseconds and Z."""
    seen = times("2025-12-26T18:00:00", "3170ms")
    states = ["13.249470", "13.250001", "unavailable", "on"]
    rows = [f"sensor.voltmeter,{states[i % 4]},{t.isoformat(timespec='milliseconds')}Z" for i, t in enumerate(seen)]
    return csv("entity_id,state,last_changed", rows), seen


@form(
    "influx.csv",
    "_time",
    dtypes={"_value": "float64"},
    keeps={"_value": 18.25, "station": "ST-00000512"},
    said=["skiprows=3", "format='%Y-%m-%dT%H:%M:%S%z', utc=True"],
)
def influx_annotated():
    """InfluxDB annotated CSV: three lines of notes before the header, and a first column without a name."""
    seen = times("2026-08-07T18:08:47", "10s")
    notes = [
        "#datatype,string,long,dateTime:RFC3339,double,string,string",
        "#group,false,false,false,false,true,true",
        "#default,_result,,,,,",
        ",result,table,_time,_value,_field,station",
    ]
    rows = [f",,0,{t.isoformat()}Z,{18.25 + i},temp,ST-00000512" for i, t in enumerate(seen)]
    return csv(None, [*notes, *rows], end="\r\n"), seen


@form(
    "Gridload-data-2026-01-05.csv",
    "Time",
    dtypes={"A-series": "float64"},
    keeps={"A-series": 35.5},
)
def grafana():
    """Grafana, download for Excel: a line sep= first, everything in quotes."""
    seen = times("2026-01-05 10:00:00", "15s")
    rows = [f'"{t}","{35.5 + i}"' for i, t in enumerate(seen)]
    return csv(None, ["sep=,", '"Time","A-series"', *rows]), seen


# -- money and energy, CSV --------------------------------------------------------------------------------------------


@form(
    "BTCUSDT-aggTrades-2026-06-17.csv",
    "transact_time",
    dtypes={"agg_trade_id": "int64", "price": "float64", "is_buyer_maker": "bool"},
    keeps={"agg_trade_id": 3000000001, "price": 42000.1},
    said=["unit='ms'"],
)
def binance_futures():
    """Binance futures: milliseconds since 1970, true and false, ids beyond 32 bits."""
    ms = 1781650800123 + np.arange(N) * 333
    rows = [f"{3000000001 + i},42000.10,0.500,{i},{i},{t},{str(i % 2 > 0).lower()}" for i, t in enumerate(ms)]
    header = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    return csv(header, rows), pd.to_datetime(ms, unit="ms")


@form(
    "BTCUSDT-trades-2025-03.csv",
    "time",
    dtypes={"id": "int64"},
    said=["names=[…]", "unit='us'"],
    names=["id", "price", "quantity", "quote", "time", "is_buyer_maker", "is_best_match"],
)
def binance_spot():
    """Binance spot: no header, microseconds since 2025, True and False."""
    us = 1740787200000123 + np.arange(N) * 333_000
    rows = [f"{4625103452 + i},85000.10000000,0.00012000,10.20001200,{t},True,True" for i, t in enumerate(us)]
    return csv(None, rows), pd.to_datetime(us, unit="us")


@form("BCHEUR.csv", "time", said=["names=[…]"], names=["time", "price", "volume"])
def kraken():
    """Kraken trades: no header, seconds since 1970, three columns."""
    s = 1672531436 + np.arange(N) * 35
    return csv(None, [f"{t},90.540000,1.10448420" for t in s]), pd.to_datetime(s, unit="s")


@form(
    "Binance_BTCUSDT_1h.csv",
    "unix",
    dtypes={"open": "int64", "low": "float64"},
    said=["skiprows=1", "unit='ms'", "sort=True"],
)
def crypto_data_download():
    """CryptoDataDownload: the collection's address on line 1, newest first, milliseconds."""
    seen = times("2026-01-02 10:00", "-1h")
    rows = [f"{int(t.timestamp() * 1000)},{t},BTC/USDT,{100 - i},3,0.5,2.5,100,250" for i, t in enumerate(seen)]
    notes = ["https://www.CryptoDataDownload.com", "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD"]
    return csv(None, [*notes, *rows]), seen


@form(
    "public_trades_list.csv",
    "date",
    dtypes={"id": "int64", "type": "object", "cost": "float64"},
    keeps={"id": 1206419187, "side": "buy"},
)
def freqtrade_csv():
    """freqtrade: pandas wrote its index as a column without a name; times with and without fractions, all +00:00."""
    seen = (
        times("2023-02-02 09:20:00.138", "431ms")
        .insert(1, pd.Timestamp("2023-02-02 09:20:00.138"))
        .insert(N + 1, pd.Timestamp("2023-02-02 09:21:00"))
    )
    rows = [
        f"{i},{int(t.timestamp() * 1000)},{1206419187 + i},,buy,1666.8,26.062,{43440.1416 + i},{t}+00:00"
        for i, t in enumerate(seen)
    ]
    return csv(",timestamp,id,type,side,price,amount,cost,date", rows), seen


@form(
    "EURUSD_M1.csv",
    "<DATE>",
    dtypes={"<OPEN>": "float64"},
    keeps={"<OPEN>": 1.10432},
    said=[r"sep='\t'", "format='%Y.%m.%d'"],
)
def metatrader():
    """MetaTrader 5 bars: tabs, names in angle brackets, day with points and time apart, CRLF."""
    seen = times("2024-01-02", "7h")
    rows = [
        f"{t:%Y.%m.%d}\t{t:%H:%M:%S}\t1.10432\t1.10500\t1.10300\t1.10450\t{1234 + i}\t0\t5" for i, t in enumerate(seen)
    ]
    header = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
    return csv(header, rows, end="\r\n"), seen.normalize()


@form(
    "umsaetze.csv",
    "Buchungstag",
    dtypes={"Betrag": "float64", "IBAN Kontoinhaber": "str"},
    keeps={"Betrag": -7.42, "Währung": "EUR"},
    said=["sep=';', decimal=','", "format='%d.%m.%Y'"],
)
def commerzbank():
    """Commerzbank export: a byte order mark, semicolons, decimal commas without trailing zeros, dates with points."""
    booked = times("2026-09-01", "D")
    amounts = ["-7,42", "-2040", "0", "-3,9"]
    rows = [
        f"{t:%d.%m.%Y};{t:%d.%m.%Y};Lastschrift;Muster Software GmbH;{amounts[i % 4]};EUR;DE02120300000000202051;"
        for i, t in enumerate(booked)
    ]
    header = "Buchungstag;Wertstellung;Umsatzart;Buchungstext;Betrag;Währung;IBAN Kontoinhaber;Kategorie"
    return BOM + csv(header, rows), booked


@form(
    "Gro_handelspreise_202609010000.csv",
    "Datum von",
    dtypes={"Deutschland/Luxemburg [€/MWh]": "float64"},
    keeps={"Deutschland/Luxemburg [€/MWh]": 85.12},
    said=["sep=';', decimal=','", "format='%d.%m.%Y %H:%M'"],
)
def smard():
    """SMARD of the Bundesnetzagentur: semicolons, decimal commas, points in dates, Latin-1 in no place but UTF-8."""
    seen = times("2026-09-01 00:15", "15min")
    rows = [
        f"{t:%d.%m.%Y %H:%M};{t + pd.Timedelta('15min'):%d.%m.%Y %H:%M};{85.12 + i:.2f}".replace(".", ",")
        for i, t in enumerate(seen)
    ]
    rows = [re.sub(r"(\d\d),(\d\d),(\d{4})", r"\1.\2.\3", row) for row in rows]
    return csv("Datum von;Datum bis;Deutschland/Luxemburg [€/MWh]", rows, last=False), seen


@form(
    "Day-ahead Prices_202401010000-202501010000.csv",
    "MTU (CET/CEST)",
    keeps={"Day-ahead Price [EUR/MWh]": 12.5},
    said=["format="],
)
def entsoe():
    """ENTSO-E transparency platform: an interval of two times in one text."""
    seen = times("2024-01-01", "h")
    rows = [
        f'"{t:%d/%m/%Y %H:%M} - {t + pd.Timedelta("1h"):%d/%m/%Y %H:%M}","{12.5 + i}","EUR","BZN|DE-LU"'
        for i, t in enumerate(seen)
    ]
    return csv('"MTU (CET/CEST)","Day-ahead Price [EUR/MWh]","Currency","BZN|DE-LU"', rows), seen


# -- logs -------------------------------------------------------------------------------------------------------------


@form(
    "BGL_2k.log_structured.csv",
    "Timestamp",
    dtypes={"Label": "str", "Content": "str"},
    keeps={"Label": "-", "Time": "2005-06-03-15.42.50.675872", "Content": 'said "no, never" once'},
)
def loghub_bgl():
    """Loghub BlueGene/L: seconds since 1970, a bare minus for no label, doubled quotes, CRLF."""
    s = 1117838570 + np.arange(N) * 3
    rows = [
        f'{i + 1},-,{t},2005.06.03,R02-M1-N0-C:J12-U11,2005-06-03-15.42.50.675872,RAS,KERNEL,INFO,"said ""no, never"" once",E77'
        for i, t in enumerate(s)
    ]
    header = "LineId,Label,Timestamp,Date,Node,Time,Type,Component,Level,Content,EventId"
    return csv(header, rows, end="\r\n"), pd.to_datetime(s, unit="s")


@form(
    "Apache_2k.log_structured.csv",
    "Time",
    keeps={"Level": "notice"},
    said=["format='%a %b %d %H:%M:%S %Y'"],
)
def loghub_apache():
    """Loghub Apache: times as C prints them."""
    seen = times("2005-12-04 04:47:44", "9h")
    rows = [f"{i + 1},{t:%a %b %d %H:%M:%S %Y},notice,init() ok,E2,init() ok <*>" for i, t in enumerate(seen)]
    return csv("LineId,Time,Level,Content,EventId,EventTemplate", rows, end="\r\n"), seen


@form(
    "HealthApp_2k.log_structured.csv",
    "Time",
    keeps={"Pid": 30002312},
    said=["format='%Y%m%d-%H:%M:%S:%f'"],
)
def loghub_health():
    """Loghub HealthApp: eight digits, a minus, and a colon before the milliseconds."""
    seen = times("2017-12-23 22:15:29.606", "613ms")
    rows = [
        f"{i + 1},{t:%Y%m%d-%H:%M:%S}:{t.microsecond // 1000:03d},Step_LSC,30002312,onStandStepChanged 3579,E42"
        for i, t in enumerate(seen)
    ]
    return csv("LineId,Time,Component,Pid,Content,EventId", rows, end="\r\n"), seen


@form(
    "access.log",
    "ts",
    said=["pd.read_json(path, lines=True)"],
    dtypes={"ts": "float64", "status": "int64"},
    keeps={"msg": "handled request"},
)
def caddy():
    """Caddy access log (zap): seconds with fractions, objects in objects, lists of one text."""
    ns = 1646861401500000000 + np.arange(N) * 500000000
    rows = [
        json.dumps(
            {
                "level": "info",
                "ts": t / 1e9,
                "logger": "http.log.access",
                "msg": "handled request",
                "request": {"remote_ip": "127.0.0.1", "headers": {"User-Agent": ["curl/7.82.0"]}},
                "duration": 0.000929675,
                "status": 200,
                "resp_headers": {"Server": ["Caddy"]} if i % 2 else {},
            }
        )
        for i, t in enumerate(ns.tolist())
    ]
    return csv(None, rows), pd.to_datetime(ns)


@form(
    "2015-01-01-15.json.gz",
    "created_at",
    dtypes={"id": "str", "public": "bool"},
    keeps={"id": "2489651045", "actor": {"id": 665991, "login": "user0", "gravatar_id": ""}},
)
def github_archive():
    """GH Archive: ids as texts of digits, a payload that differs by the type of the event, org in some lines only."""
    seen = times("2015-01-01T15:00:00", "s")
    rows = []
    for i, t in enumerate(seen):
        push = {"push_id": 536740396 + i, "size": 1, "commits": [{"sha": "a0b1", "distinct": True}]}
        event = {
            "id": str(2489651045 + i),
            "type": "CreateEvent" if i % 3 == 1 else "PushEvent",
            "actor": {"id": 665991 + i, "login": f"user{i}", "gravatar_id": ""},
            "payload": {"ref": None, "description": "x"} if i % 3 == 1 else push,
            "public": True,
            "created_at": f"{t.isoformat()}Z",
        }
        if i % 4 == 2:
            event["org"] = {"id": 1, "login": "acme"}
        rows.append(json.dumps(event, separators=(",", ":")))
    return csv(None, rows), seen


@form(
    "recentchange.ndjson",
    "timestamp",
    dtypes={"timestamp": "int64", "bot": "bool"},
    keeps={"title": "תבנית:נתונים", "$schema": "/mediawiki/recentchange/1.0.0"},
)
def wikimedia():
    """Wikimedia recent changes: id null for logs, log_params a list where it is empty, else an object; any script."""
    s = 1596207527 + np.arange(N)
    rows = []
    for i, t in enumerate(s):
        event = {
            "$schema": "/mediawiki/recentchange/1.0.0",
            "meta": {"dt": "2020-07-31T14:58:47Z", "partition": 0, "offset": 2603659077 + i},
            "id": None if i % 3 == 2 else 53404707 + i,
            "type": "log" if i % 3 == 2 else "edit",
            "title": "תבנית:נתונים",
            "timestamp": int(t),
            "bot": i % 2 == 0,
        }
        event |= {"log_params": [[], {"userid": i}][i // 3 % 2]} if i % 3 == 2 else {"length": {"old": 1, "new": 2}}
        rows.append(json.dumps(event, ensure_ascii=False))
    return csv(None, rows), pd.to_datetime(s, unit="s")


@form(
    "logs.bulk.ndjson",
    "@timestamp",
    said=["null"],
)
def elasticsearch_bulk():
    """Elasticsearch bulk: every second line is an action, not a row."""
    seen = times("2015-05-18T09:03:25.877", "811ms")
    rows = []
    for i, t in enumerate(seen):
        rows.append(json.dumps({"index": {"_index": "logstash", "_id": str(i)}}))
        rows.append(json.dumps({"@timestamp": f"{t.isoformat(timespec='milliseconds')}Z", "ip": "1.2.3.4", "bytes": i}))
    return csv(None, rows), seen


@form(
    "flights-2k.json",
    "date",
    dtypes={"delay": "int64"},
    keeps={"origin": "LAX"},
    said=["pd.read_json(path)"],
)
def vega_flights():
    """vega-datasets: one JSON array on one line, dates with slashes."""
    seen = times("2001-01-01 06:55", "17min")
    rows = [{"date": f"{t:%Y/%m/%d %H:%M}", "delay": i - 19, "origin": "LAX"} for i, t in enumerate(seen)]
    return json.dumps(rows, separators=(",", ":")), seen


@form(
    "HDFS_2k.log_structured.csv",
    "Date",
    dtypes={"Time": "str"},
    keeps={"Time": "000309"},
    said=["format='%y%m%d'"],
)
def loghub_hdfs():
    """Loghub HDFS: year, month and day in six digits, and the clock in a column of its own, both with leading zeros."""
    seen = times("2008-11-09 00:03:09", "7h")
    rows = [
        f"{i + 1},{t:%y%m%d},{t:%H%M%S},148,INFO,dfs.DataNode$PacketResponder,blk_-6952295868487656571 terminating,E10"
        for i, t in enumerate(seen)
    ]
    return csv("LineId,Date,Time,Pid,Level,Component,Content,EventId", rows, end="\r\n"), seen.normalize()


# -- Parquet of several writers ---------------------------------------------------------------------------------------


def parquet(table, **how):
    """Return what writes a table as a file, the way a certain writer does."""
    return lambda path: pq.write_table(table, path, **how)


@form(
    "yellow_tripdata_2024-01.parquet",
    "tpep_pickup_datetime",
    dtypes={"tpep_dropoff_datetime": "datetime64[us]", "passenger_count": "float64", "VendorID": "int32"},
    keeps={"store_and_fwd_flag": "N"},
    said=["sort=True"],
)
def nyc_taxi_parquet():
    """NYC TLC in Parquet (parquet-cpp-arrow): microseconds, large strings, counts as doubles, not in order."""
    begun = times("2024-01-01 00:57:55", "41s")
    order = [*range(1, N), 0]
    table = pa.table(
        {
            "VendorID": pa.array(range(N), pa.int32()),
            "tpep_pickup_datetime": pa.array(begun[order], pa.timestamp("us")),
            "tpep_dropoff_datetime": pa.array(begun[order] + pd.Timedelta("9min"), pa.timestamp("us")),
            "passenger_count": pa.array([None if i % 9 == 8 else 1.0 for i in range(N)]),
            "store_and_fwd_flag": pa.array([None if i % 9 == 8 else "N" for i in range(N)], pa.large_string()),
        }
    )
    return parquet(table), begun[order]


@form(
    "part-00000-9f1d-c000.snappy.parquet",
    "event_time",
    dtypes={"valid_until": "datetime64[us]", "amount": "object"},
    keeps={"tags": ["a", "b"]},
)
def spark():
    """Spark (parquet-mr): INT96 times, one of them far away, decimals, lists and structs."""
    seen = times("2024-01-01 20:34:56.123456", "s")
    rows = [{"city": "Ulm", "zip": f"{i:05d}"} for i in range(N)]
    table = pa.table(
        {
            "event_time": pa.array(seen, pa.timestamp("us")),
            "valid_until": pa.array([pd.Timestamp("9999-12-31").to_pydatetime()] * N, pa.timestamp("us")),
            "amount": pa.array([Decimal("1.50")] * N, pa.decimal128(10, 2)),
            "tags": pa.array([["a", "b"] if i % 2 == 0 else None for i in range(N)], pa.list_(pa.string())),
            "place": pa.array(rows),
        }
    )
    return parquet(table, flavor="spark", use_deprecated_int96_timestamps=True, compression="snappy"), seen


@form(
    "alltypes_plain.parquet",
    "timestamp_col",
    dtypes={"bigint_col": "int64", "float_col": "float32", "bool_col": "bool", "timestamp_col": "datetime64[us]"},
    keeps={"date_string_col": b"03/01/09"},
)
def impala():
    """apache/parquet-testing, alltypes_plain (Impala): INT96, texts without a mark that they are texts."""
    seen = times("2009-03-01", "min")
    table = pa.table(
        {
            "id": pa.array(range(N), pa.int32()),
            "bool_col": [i % 2 == 0 for i in range(N)],
            "bigint_col": [10 * i for i in range(N)],
            "float_col": pa.array([1.1 * i for i in range(N)], pa.float32()),
            "date_string_col": [b"03/01/09"] * N,
            "timestamp_col": pa.array(seen, pa.timestamp("ns")),
        }
    )
    return parquet(table, use_deprecated_int96_timestamps=True, version="1.0"), seen


@form(
    "nullable.impala.parquet",
    "id",
    dtypes={"id": "int64"},
)
def impala_nested():
    """apache/parquet-testing, nullable.impala: lists of lists, maps of lists, nulls at every depth."""
    table = pa.table(
        {
            "id": range(N),
            "int_array_array": pa.array([[[1, None], [], None]] * N, pa.list_(pa.list_(pa.int32()))),
            "int_map": pa.array([[("k1", 1), ("k2", None)]] * N, pa.map_(pa.string(), pa.int32())),
            "nested": pa.array([{"A": None, "C": {"d": [{"E": 10}, None]}}, None] * (N // 2)),
        }
    )
    return parquet(table), pd.to_datetime(np.arange(N), unit="s")


@form(
    "XRP_ETH-trades.parquet",
    "timestamp",
    dtypes={"id": "str", "type": "str", "timestamp": "int64"},
    keeps={"id": "13519807", "type": "None"},
    said=["unit='ms'"],
)
def freqtrade_parquet():
    """freqtrade trades: milliseconds as whole numbers, ids as texts, the text None."""
    ms = 1570752011620 + np.arange(N) * 91
    table = pa.table(
        {"timestamp": ms, "id": [str(13519807 + i) for i in range(N)], "type": ["None"] * N, "price": [0.5] * N}
    )
    return parquet(table, compression="lz4"), pd.to_datetime(ms, unit="ms")


@form("prices.parquet", "Date", dtypes={"Close": "float64", "Date": "datetime64[us, America/New_York]"})
def pandas_index():
    """yfinance through pandas: the times are the index, in New York's time, over the change of clocks."""
    seen = pd.date_range("2026-03-06", periods=N, freq="D", tz="America/New_York", name="Date", unit="us")
    frame = pd.DataFrame({"Close": np.arange(N) + 0.5}, index=seen)
    return frame.to_parquet, seen.tz_convert("UTC").tz_localize(None)


@form(
    "ais-2024-01-01.parquet",
    "base_date_time",
    dtypes={"vessel_name": "category", "length": "float64"},
    keeps={"geometry": b"\x01\x01\x00\x00\x00"},
)
def polars_geo():
    """Marine Cadastre GeoParquet by way of Polars: string views, dictionaries, points as bytes, unsigned numbers."""
    seen = times("2024-01-01", "11s")
    table = pa.table(
        {
            "mmsi": pa.array(range(N), pa.uint32()),
            "base_date_time": pa.array(seen, pa.timestamp("us")),
            "vessel_name": pa.array(["A", None] * (N // 2)).dictionary_encode(),
            "call_sign": pa.array(["WX1"] * N, pa.string_view()),
            "length": pa.array([None, 12.0] * (N // 2)),
            "geometry": [b"\x01\x01\x00\x00\x00"] * N,
        }
    )
    return parquet(table, compression="zstd", row_group_size=16), seen


# -- the law ----------------------------------------------------------------------------------------------------------

WAYS = (  # what a sentence may ask for, as it is written in one
    r"(?P<table>(?:mblab\.sources\.csv|pd\.read_\w+)\(path.*?\))(?=[.,;]| and |$)",
    r"(?P<rows>rows(?:\[.*?\])? = .*?\))(?=, and replay|, or | where |\.$)",
    r"(?P<knob>\w+=(?:True|'[^']*'))(?=[.,;]| to |$)",
)


def followed(sentence, path, data, knobs, names):
    """Return the data and the knobs once what a sentence asks for is done to the letter."""
    assert sentence.endswith("."), sentence
    assert "\n" not in sentence, sentence
    found = next((m for m in (re.search(way, sentence) for way in WAYS) if m), None)
    assert found, f"no way on: {sentence}"
    if "table" in found.groupdict():
        line = found["table"].replace("[…]", f"{[*names]}")
        return eval(line, {"pd": pd, "mblab": mblab, "path": path}), knobs
    if "rows" in found.groupdict():
        scope = {"pd": pd, "mblab": mblab, "rows": data, "data": data}
        exec(found["rows"], scope)
        return scope["rows"], knobs
    return data, {**knobs, **eval(f"dict({found['knob']})")}


def replayed(path, names=(), **knobs):
    """Return the source, its blocks, and what the refusals on the way to it said."""
    data, said = path, []
    while True:
        try:
            source = replay(data, **knobs)
            return source, list(source.open()), said
        except (mblab.SourceError, SourceWarning) as error:
            said.append(str(error))
        assert len(said) < 5, said
        data, knobs = followed(said[-1], path, data, knobs, names)


def thinned(cases, every, first=0):
    """Return cases, of which the quick run tries one in some; the slow tests are all of them."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*case, id="-".join(map(str, case)), marks=() if i % every == first else pytest.mark.slow)
        for i, case in enumerate(cases)
    ]


MIXED = {"wikimedia": "log_params"}  # lists and objects in one column; the Parquet of others has no type for it


def one_frame(blocks):
    return pd.concat([block.rows for block in blocks], ignore_index=True)


def in_parquet(rows):
    """Return rows as Parquet holds them: in no whole seconds, and with null for what an object lacks."""
    late = {c: str(t).replace("[s", "[ms") for c, t in rows.dtypes.items() if str(t).startswith("datetime64[s")}
    objects = {c: rows[c].map(told) for c, dtype in rows.dtypes.items() if pd.api.types.is_object_dtype(dtype)}
    return rows.astype(late).assign(**objects)


def told(value):
    """Return what a cell says, whatever holds it, also a text file that does not say which text is a text."""
    if isinstance(value, str):
        value = in_text(value)
    if isinstance(value, dict | list | np.ndarray):
        return json_text(without_nulls(as_json(value)))
    if value is None or pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return (value.tz_convert("UTC").tz_localize(None) if value.tzinfo else value).isoformat()[:26]
    if isinstance(value, int | float | np.number | Decimal) and not isinstance(value, bool):
        return float(value)
    return as_json(value)


def in_text(value):
    """Return a text as the number, time, bytes or JSON that it could be; leading zeros are none of a number."""
    if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", value):
        return float(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:.*", value):
        return pd.Timestamp(value)
    if re.fullmatch(r"b'.*'", value):
        return ast.literal_eval(value)
    return json.loads(value) if re.fullmatch(r"\{.*\}|\[.*\]", value) else value or None


def without_nulls(value):
    """Return a value of JSON without what is null in its objects."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_replayed_with_a_name_and_an_arrival_column(name, tmp_path):
    """Every row, at its time, with its type and to the digit; and where more must be said, the sentence says what."""
    form = FORMS[name]
    happened = form.write(tmp_path / form.file).to_numpy("datetime64[ns]").astype(np.int64)
    source, blocks, said = replayed(tmp_path / form.file, form.names, arrival=form.arrival, speedup=10)
    rows = one_frame(blocks)

    assert len(said) == len(form.said), said
    assert all(word in sentence for word, sentence in zip(form.said, said, strict=True)), said
    assert len(rows) == len(happened)
    assert np.array_equal(np.concatenate([b.arrival_ns for b in blocks]), np.sort(happened) - happened.min())
    assert {c: str(rows[c].dtype) for c in form.dtypes} == form.dtypes
    first = rows.iloc[int(np.argsort(happened, kind="stable").argmin())]  # of the file; sorted, it stands elsewhere
    assert {c: first[c] for c in form.keeps} == form.keeps


@pytest.mark.parametrize("name", thinned(FORMS, 4))
def test_a_form_is_watched_as_it_is_replayed(name, tmp_path):
    """Where its times matter to nobody, nothing but the way its columns are parted has to be said."""
    FORMS[name].write(tmp_path / FORMS[name].file)
    data = replayed(tmp_path / FORMS[name].file, FORMS[name].names, rate=1)[0].data
    if isinstance(data, pd.DataFrame):
        pytest.skip("a frame is nothing to watch")
    watched = next(mblab.watch(data, every="20ms", settle=0).open()).rows

    pd.testing.assert_frame_equal(watched, one_frame(replay(data, rate=1).open()))


@pytest.mark.parametrize("name", thinned(FORMS, 4, 1))
def test_a_form_is_recorded_with_its_times(name, tmp_path):
    """The recording gives the same rows at the same times, without a word about columns."""
    FORMS[name].write(tmp_path / FORMS[name].file)
    source, blocks, _ = replayed(
        tmp_path / FORMS[name].file, FORMS[name].names, arrival=FORMS[name].arrival, speedup=10
    )
    again = list(replay(mblab.record(source, tmp_path / "kept.parquet")).open())

    pd.testing.assert_frame_equal(in_parquet(one_frame(again)), in_parquet(one_frame(blocks)))
    assert np.array_equal(again[0].arrival_ns * 10, blocks[0].arrival_ns)


SINKS = {"csv": mblab.sinks.csv, "jsonl": mblab.sinks.jsonl, "parquet": mblab.sinks.parquet}


@pytest.mark.parametrize(("name", "kind"), thinned(product(FORMS, SINKS), 11, 1))
def test_a_form_is_delivered_and_read_again(name, kind, tmp_path):
    """What a sink wrote says what it was given, cell by cell."""
    FORMS[name].write(tmp_path / FORMS[name].file)
    out = tmp_path / "out" / ("*.parquet" if kind == "parquet" else f"rows.{kind}")
    source = replay(replayed(tmp_path / FORMS[name].file, FORMS[name].names, rate=1)[0].data, rate=10)
    lab = Lab(source, interval="1s", name="real")
    lab.batch(lambda batch: batch, name="same")
    lab.to(SINKS[kind](out.parent if kind == "parquet" else out))
    if kind == "parquet" and name in MIXED:
        with pytest.raises(mblab.SinkError, match=f"cannot take column '{MIXED[name]}' of batch 0"):
            lab.run(clock="virtual", cost=0)
        return
    lab.run(clock="virtual", cost=0)

    pd.testing.assert_frame_equal(one_frame(replay(out, rate=1).open()).map(told), one_frame(source.open()).map(told))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["polars_geo", "openaq", "github_archive", "commerzbank", "dwd"])
def test_a_form_s_lab_is_exported_and_the_script_gives_the_same(name, tmp_path):
    """The script reads the file as the lab does, with what had to be said."""
    FORMS[name].write(tmp_path / FORMS[name].file)
    source = replayed(tmp_path / FORMS[name].file, FORMS[name].names, arrival=FORMS[name].arrival, speedup=10)[0]
    lab = Lab(source, interval="10s", name="real")
    lab.batch(lambda batch: batch, name="same")
    lab.to(mblab.sinks.jsonl(tmp_path / "lab.jsonl"))
    lab.run(clock="virtual", cost=0)
    script = lab.export(tmp_path / "job.py")
    told = [sys.executable, script, "--output", tmp_path / "script.jsonl"]
    done = subprocess.run(told, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "script.jsonl").read_text("utf-8") == (tmp_path / "lab.jsonl").read_text("utf-8")
