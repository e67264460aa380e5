import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Apache Kafka Streams: the job of job.py, with state in memory or in RocksDB, in changelog topics either way; a
 * repartition topic shuffles by address. Arguments: broker, access topic, alert topic, folder, "memory" or "rocksdb".
 */
public final class Streams {
    static final int GRACE = 20;
    static final double DEVIATIONS = 6.0;
    static final int SUBJECTS_MAX = 10;
    static final int PARTITIONS = 8;
    static final int TOLD_MS = 100;
    static final String ACCOUNTS = "accounts";
    static final String ADDRESSES = "addresses";
    static final JsonFactory JSON = new JsonFactory();

    static volatile long events; // one thread writes them
    static volatile long subjects;

    record Event(long time, double records, double bytes, String address, String subject) {
        /** The fields of a record that the job needs; what it does not need is skipped. */
        static Event parse(byte[] value) {
            long time = 0;
            double records = 0;
            double bytes = 0;
            String address = null;
            String subject = null;
            try (var parser = JSON.createParser(value)) {
                parser.nextToken();
                while (parser.nextToken() == JsonToken.FIELD_NAME) {
                    var name = parser.currentName();
                    parser.nextToken();
                    switch (name) {
                        case "time" -> time = parser.getLongValue();
                        case "records" -> records = parser.getDoubleValue();
                        case "bytes" -> bytes = parser.getDoubleValue();
                        case "source_ip" -> address = parser.getText();
                        case "subject" -> subject = parser.getText();
                        default -> parser.skipChildren();
                    }
                }
            } catch (IOException why) {
                throw new IllegalArgumentException(why);
            }
            return new Event(time, records, bytes, address, subject);
        }
    }

    /** Count, and mean and sum of squares of two values, by Welford's recurrence; as 40 bytes in a store. */
    static final class Moments {
        long count;
        final double[] mean = new double[2];
        final double[] squares = new double[2];

        double surprise(double... values) {
            double worst = 0;
            for (int i = 0; i < 2; i++) {
                if (count >= GRACE) {
                    worst = Math.max(worst, Math.abs(values[i] - mean[i])
                        / Math.max(Math.sqrt(squares[i] / (count - 1)), 1.0));
                }
                double from = values[i] - mean[i];
                mean[i] += from / (count + 1);
                squares[i] += from * (values[i] - mean[i]);
            }
            count++;
            return worst;
        }

        static byte[] write(Moments of) {
            return of == null ? null : ByteBuffer.allocate(40).putLong(of.count).putDouble(of.mean[0])
                .putDouble(of.mean[1]).putDouble(of.squares[0]).putDouble(of.squares[1]).array();
        }

        static Moments read(byte[] kept) {
            if (kept == null) {
                return null;
            }
            var from = ByteBuffer.wrap(kept);
            var of = new Moments();
            of.count = from.getLong();
            of.mean[0] = from.getDouble();
            of.mean[1] = from.getDouble();
            of.squares[0] = from.getDouble();
            of.squares[1] = from.getDouble();
            return of;
        }
    }

    static final class Score extends ContextualProcessor<String, Event, String, String> {
        private KeyValueStore<String, Moments> accounts;

        @Override
        public void init(ProcessorContext<String, String> context) {
            super.init(context);
            accounts = context.getStateStore(ACCOUNTS);
        }

        @Override
        public void process(Record<String, Event> record) {
            var event = record.value();
            var moments = accounts.get(record.key());
            if (moments == null) {
                moments = new Moments();
            }
            double off = moments.surprise(event.records(), event.bytes());
            accounts.put(record.key(), moments);
            if (off > DEVIATIONS) {
                context().forward(record.withValue(String.format(Locale.ROOT,
                    "{\"account\":\"%s\",\"time\":%d,\"deviations\":%s}", record.key(), event.time(), off)));
            }
            events++;
        }
    }

    static final class Spread extends ContextualProcessor<String, String, String, String> {
        private KeyValueStore<String, String> addresses;

        @Override
        public void init(ProcessorContext<String, String> context) {
            super.init(context);
            addresses = context.getStateStore(ADDRESSES);
        }

        @Override
        public void process(Record<String, String> record) {
            var kept = addresses.get(record.key());
            var seen = kept == null ? "\n" : kept; // each between line ends
            var one = record.value() + "\n";
            long count = seen.chars().filter(c -> c == '\n').count() - 1;
            if (count < SUBJECTS_MAX && !seen.contains("\n" + one)) {
                addresses.put(record.key(), seen + one);
                if (count + 1 == SUBJECTS_MAX) {
                    context().forward(record.withValue(String.format(Locale.ROOT,
                        "{\"address\":\"%s\",\"subjects\":%d}", record.key(), SUBJECTS_MAX)));
                }
            }
            subjects++;
        }
    }

    static <V> StoreBuilder<KeyValueStore<String, V>> store(String name, boolean memory, Serde<V> values) {
        KeyValueBytesStoreSupplier kept =
            memory ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
        return Stores.keyValueStoreBuilder(kept, Serdes.String(), values).withCachingEnabled()
            .withLoggingEnabled(Map.of());
    }

    public static void main(String[] given) throws InterruptedException {
        boolean memory = given[4].equals("memory");
        var moments = Serdes.serdeFrom((topic, of) -> Moments.write(of), (topic, kept) -> Moments.read(kept));
        var builder = new StreamsBuilder();
        builder.addStateStore(store(ACCOUNTS, memory, moments));
        builder.addStateStore(store(ADDRESSES, memory, Serdes.String()));
        var read = builder.stream(given[1], Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .mapValues(Event::parse);
        var strange = read.process(Score::new, ACCOUNTS);
        var crowds = read.filter((account, event) -> event.subject() != null)
            .map((account, event) -> KeyValue.pair(event.address(), event.subject()))
            .repartition(Repartitioned.<String, String>as("by-address").withKeySerde(Serdes.String())
                .withValueSerde(Serdes.String()).withNumberOfPartitions(PARTITIONS))
            .process(Spread::new, ADDRESSES);
        strange.merge(crowds).to(given[2], Produced.with(Serdes.String(), Serdes.String()));

        var settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given[2]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given[0]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given[3]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 256L << 20);
        settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), 10_000);
        settings.put(StreamsConfig.consumerPrefix("max.partition.fetch.bytes"), 2 << 20);
        settings.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
        settings.put(StreamsConfig.producerPrefix("batch.size"), 256 << 10);
        settings.put(StreamsConfig.producerPrefix("linger.ms"), 100);
        var streams = new KafkaStreams(builder.build(settings), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
        streams.start();
        while (true) {
            Thread.sleep(TOLD_MS);
            System.out.println(events + " " + subjects);
        }
    }
}
